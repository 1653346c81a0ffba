#!/usr/bin/env bash
# Installs the two versions of slidge that the gateway profile is tried with, and prints a line for each: the version, the root
# that it runs in ("/" for this machine), and the directory inside that root that holds it.
#
# Version 0.5 wants Python 3.13. Debian 13 has that, so it runs in the root that prosody13.sh makes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
python=${PYTHON:-$repo/target/venv/bin/python}

constraints=$here/slidge-constraints.txt

say() { printf 'slidge: %s\n' "$*" >&2; }

# Installs a version for a version of Python into a directory, once for each list of constraints.
install() {
	local version=$1 into=$2
	shift 2
	cmp -s "$constraints" "$into/.complete" && return
	say "installing slidge $version"
	rm -rf "$into"
	"$python" -m pip install -q --disable-pip-version-check --target "$into" --constraint "$constraints" "$@" \
		"slidge==$version" setuptools >&2
	cp "$constraints" "$into/.complete"
}

old=$repo/target/slidge/0.4.2
install 0.4.2 "$old"
printf '0.4.2 / %s\n' "$old"

root=$("$here/prosody13.sh")
if [ ! -e "$root/usr/lib/python3.13/sqlite3/__init__.py" ] || ! ls "$root"/usr/lib/*/libmagic.so.1 >/dev/null 2>&1; then
	say "installing Python 3.13 in the Debian 13 root"
	chroot "$root" apt-get update -qq >&2
	chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get install -y -qq --no-install-recommends \
		python3 libmagic1t64 >&2
fi
install 0.5.3 "$root/opt/slidge-0.5.3" --python-version 3.13 --only-binary=:all: --implementation cp --ignore-requires-python
printf '0.5.3 %s %s\n' "$root" /opt/slidge-0.5.3
