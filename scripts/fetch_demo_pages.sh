#!/usr/bin/env bash
# Fetch the demo's web pages from Debian's archive: freely licensed manuals in
# Japanese and in two dozen other languages. Nothing is installed and root is not
# needed: apt keeps its state in a private folder, and the packages are only unpacked.
# Usage: fetch_demo_pages.sh DIR
set -euo pipefail
target=$1

packages=(
    aptitude-doc-ja
    debian-edu-doc-ja
    debian-faq-ja
    debian-handbook
    debian-policy-ja
    debian-reference-ja
    developers-reference-ja
    gimp-help-ja
    installation-guide-amd64
    libreoffice-help-ja
    lilypond-doc-html-ja
    maint-guide-ja
)

for tool in apt-get dpkg-deb; do
    if ! command -v "$tool" >/dev/null; then
        echo "error: '$tool' was not found. The demo fetches its pages from Debian's archive and runs" >&2
        echo "       on Debian or Ubuntu. Elsewhere, put folders of HTML into $target and list them" >&2
        echo "       under corpus.inputs in a copy of recipes/demo.yaml." >&2
        exit 1
    fi
done

mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$(dirname "$target")/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/debs" "$work/pages"
apt=(apt-get -qq
    -o "Dir::State=$PWD/$work/state" -o "Dir::State::status=/var/lib/dpkg/status"
    -o "Dir::Cache=$PWD/$work/cache" -o "APT::Sandbox::User=")

echo "Reading Debian's package lists ..."
"${apt[@]}" update

cd "$work/debs"
for package in "${packages[@]}"; do
    echo "Fetching $package ..."
    if ! "${apt[@]}" download "$package"; then
        echo "warning: $package is not in this system's archive; the demo goes on without it" >&2
        continue
    fi
    # Pages only: images and programs are of no use to a corpus of text.
    dpkg-deb -x "$package"_*.deb "../pages/$package"
    find "../pages/$package" ! -type d ! -name '*.html' ! -name '*.htm' ! -name copyright -delete
    rm -f "$package"_*.deb
done
cd - >/dev/null

count=$(find "$work/pages" -name '*.htm*' -type f | wc -l)
if [ "$count" -lt 1000 ]; then
    echo "error: only $count pages arrived (about 8,800 were expected). Is the network up, and does" >&2
    echo "       /etc/apt name an archive that carries the packages above?" >&2
    exit 1
fi
mv "$work/pages" "$target"
echo "$count pages are in $target"
