"""`tsumugu release push`: a checked release to the Hugging Face hub, and nothing but its files."""

import re

from tsumugu.errors import TsumuguError
from tsumugu.release.check import Check
from tsumugu.release.sums import SUMS, read_sums

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push(
    check: Check,
    name: str,
    *,
    private: bool = False,
    branch: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
) -> str:
    """Upload the files that `SHA256SUMS` lists, in one commit.

    Args:
        check: of the directory.
        name: OWNER/NAME on the hub; it is made if it is not there.
        private: whether a repository that is made is private.
        branch: which is made if it is not there; default: main.
        endpoint: of the hub; default: the one that huggingface_hub knows (HF_ENDPOINT).
        token: default: that of `hf auth login`, or HF_TOKEN.

    Returns:
        The address of the commit.

    Raises:
        TsumuguError: the check found something wrong, the name is none, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    refuse_faulty(check, name)
    files = sorted([*read_sums(check.folder), SUMS])
    api = HfApi(endpoint=endpoint, token=token)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if branch is not None:
            api.create_branch(name, branch=branch, exist_ok=True)
        commit = api.create_commit(
            name,
            operations=[CommitOperationAdd(file, str(check.folder / file)) for file in files],
            commit_message=f"Release of {name.partition('/')[2]}",
            revision=branch,
        )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise TsumuguError(
            f"the hub does not take {name}: {' '.join(str(error).split())[:300]}. `hf auth login` stores "
            f"a token; it needs the right to write"
        ) from error
    return str(commit.commit_url)


def refuse_faulty(check: Check, name: str) -> None:
    """Return if a release may be pushed under a name.

    Raises:
        TsumuguError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise TsumuguError(f"{name!r} is no name on the hub: write OWNER/NAME")
    if check.wrong:
        faults = "; ".join(f"{finding.subject}: {finding.text}" for finding in check.wrong)
        raise TsumuguError(f"{check.folder} is not uploaded: {faults}")
