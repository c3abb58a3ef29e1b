#!/bin/sh
# text200k.sh DIR: writes DIR/text200k.txt, a fixed text of 200,000 bytes for timing tokenizers, prefill and perplexity.
#
# Half is English prose and half Python code, both from one pinned release of docutils (public domain). The text is made
# here instead of being kept in the repository; the checksum says that everyone has the same.
set -eu

dir=${1:?usage: text200k.sh DIR}
release=docutils-0.21.2
prose="docs/dev/rst/problems.txt docs/peps/pep-0258.txt docs/peps/pep-0287.txt"
code="docutils/statemachine.py docutils/nodes.py"
sum=5b4221b0b57fbcbe8a2c4d5ebdef3ec702174be2d6ef862e06ba175a8c9ee7a1

mkdir -p "$dir"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m pip download -q --no-deps --no-binary :all: -d "$scratch" "$(echo "$release" | sed s/-/==/)"
tar xzf "$scratch/$release.tar.gz" -C "$scratch"
cd "$scratch/$release"
{
    cat $prose | head -c 100000
    cat $code | head -c 100000
} > "$scratch/text200k.txt"
echo "$sum  $scratch/text200k.txt" | sha256sum -c --quiet
cd - > /dev/null
mv "$scratch/text200k.txt" "$dir/text200k.txt"
