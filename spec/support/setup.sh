#!/usr/bin/env bash
# Makes a fresh Debian machine ready for the groups of work named as arguments:
#
#   build    the compiler's linker                     (make build)
#   busted   Prosody, Lua and the busted runner        (make test-busted)
#   server   Prosody and a Python environment          (make test-server, make demo)
#   lint     luacheck                                  (make lint)
#   count    valgrind                                  (make bench-count)
#   root13   debootstrap                               (make test-prosody13)
#   slidge   libmagic                                  (make test-slidge)
#
# Installs only what is missing, says one line for each thing it does, and is silent when there is
# nothing to do. Rust and Python are expected to be there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
venv=$repo/target/venv
python=${PYTHON:-python3}

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

[ $# -gt 0 ] || set -- build busted server lint

packages=()
for group in "$@"; do
	case $group in
	build)
		command -v cargo >/dev/null || fail "cargo is missing: install Rust first (with rustup, or from Debian where it is new enough)"
		command -v cc >/dev/null || packages+=(gcc libc6-dev)
		;;
	busted) packages+=(prosody prosody-modules lua5.4 lua-busted) ;;
	server)
		command -v "$python" >/dev/null || fail "$python is missing: install Python 3.11 or newer first"
		packages+=(prosody prosody-modules lua5.4 lua-dbi-sqlite3)
		;;
	lint) packages+=(lua-check) ;;
	count) packages+=(valgrind) ;;
	root13) packages+=(debootstrap) ;;
	slidge) packages+=(libmagic1) ;;
	*) fail "unknown group '$group'" ;;
	esac
done

# Runs a command as root.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo -- "$@"
	else
		fail "not root and no sudo: please run as root: apt-get install -y --no-install-recommends ${missing[*]}"
	fi
}

apt_install() {
	command -v apt-get >/dev/null || fail "no apt-get here: please install ${missing[*]} by the means of this system"
	say "installing Debian packages: ${missing[*]}"
	# A throwaway server is all the tests need: the packaged daemon is not to be started.
	local policy=/usr/sbin/policy-rc.d made_policy=
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
		made_policy=yes
	fi
	local status=0
	{
		as_root apt-get update -qq &&
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
			--no-install-recommends -o DPkg::Lock::Timeout=120 "${missing[@]}"
	} </dev/null >"$log" 2>&1 || status=$?
	[ -z "$made_policy" ] || as_root rm -f "$policy"
	if [ "$status" != 0 ]; then
		tail -n 30 "$log" >&2
		fail "apt-get failed (above is the end of its output)"
	fi
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

missing=()
if [ ${#packages[@]} -gt 0 ]; then
	installed=" $(dpkg-query -W -f '${Package}=${db:Status-Status} ' "${packages[@]}" 2>/dev/null || true)"
	for package in "${packages[@]}"; do
		[[ $installed == *" $package=installed "* || " ${missing[*]} " == *" $package "* ]] ||
			missing+=("$package")
	done
fi
[ ${#missing[@]} = 0 ] || apt_install

make_venv() {
	local stamp=$venv/.requirements wanted=$here/requirements.txt
	cmp -s "$stamp" "$wanted" && [ -x "$venv/bin/python" ] && return
	if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
		missing=(python3-venv)
		apt_install
	fi
	say "making the Python environment target/venv"
	rm -rf "$venv"
	mkdir -p "$(dirname "$venv")"
	"$python" -m venv "$venv" || fail "$python cannot make a virtual environment"
	say "installing into it: $(grep -c '^[a-z]' "$wanted") Python packages"
	"$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$wanted" </dev/null >"$log" 2>&1 || {
		tail -n 30 "$log" >&2
		fail "pip failed (above is the end of its output)"
	}
	cp "$wanted" "$stamp"
}

for group in "$@"; do
	[ "$group" != server ] || make_venv
	if [ "$group" = lint ]; then
		cargo fmt --version >/dev/null 2>&1 || fail "rustfmt is missing: rustup component add rustfmt"
		cargo clippy --version >/dev/null 2>&1 || fail "clippy is missing: rustup component add clippy"
	fi
done
