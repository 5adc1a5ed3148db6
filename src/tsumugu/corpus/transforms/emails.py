"""E-mail addresses, in ASCII and in full-width letters."""

import re

EMAIL_MASK = "xxxx@example.jp"

_LONGEST_LOCAL_PART = 64
_LOCAL_CHARACTERS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-"
    "ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ０１２３４５６７８９．＿－"
)
_DOMAIN = re.compile(
    r"[@＠](?![23]x\.)(?:[A-Za-z0-9Ａ-Ｚａ-ｚ０-９－-]{1,63}[.．]){1,8}[A-Za-zＡ-Ｚａ-ｚ]{2,24}+"
    # What follows must not belong to the name of a host, nor to another address.
    r"(?![A-Za-z0-9Ａ-Ｚａ-ｚ０-９_%+@＠-])"
)


def mask_emails(text: str) -> tuple[str, int]:
    """Replace e-mail addresses by `EMAIL_MASK`; also how many there were.

    The search begins at the @ and looks back from there, so it takes linear time.

    >>> mask_emails("連絡先は taro.yamada+web@mail.example.co.jp です。")
    ('連絡先は xxxx@example.jp です。', 1)
    >>> mask_emails("ｔａｒｏ＠ｅｘａｍｐｌｅ．ｃｏ．ｊｐへ。taro＠example.jpでも")
    ('xxxx@example.jpへ。xxxx@example.jpでも', 2)
    >>> mask_emails("a@b へ、logo@2x.png を、＠東京、npm install @types/node")[1]
    0

    A known false positive: the address of a repository.

    >>> mask_emails("git clone git@host.example.org:project.git")[0]
    'git clone xxxx@example.jp:project.git'
    """
    if "@" not in text and "＠" not in text:
        return text, 0
    pieces = []
    end = masked = 0
    for match in _DOMAIN.finditer(text):
        at = match.start()
        before = text[max(end, at - _LONGEST_LOCAL_PART - 1) : at]
        run = before[len(before.rstrip(_LOCAL_CHARACTERS)) :]
        local = run.lstrip(".．-－")
        if not local or len(run) > _LONGEST_LOCAL_PART:
            continue
        pieces += [text[end : at - len(local)], EMAIL_MASK]
        end = match.end()
        masked += 1
    pieces.append(text[end:])
    return "".join(pieces), masked
