#!/usr/bin/env bash
# Makes a throwaway root of Debian 13 with Prosody 13 in it and prints its path.
#
# Made once, from the mirror this machine's own apt uses, and kept outside the repository. It is
# built under another name and renamed when complete, so what has the name is always whole.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/mod_privilege
# Raise the number whenever what is installed below changes.
root=$cache/debian13-1
suite=trixie

say() { printf 'prosody13: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

[ "$(id -u)" = 0 ] || fail "a Debian 13 root needs debootstrap and chroot, and those need root: please run this as root"

if [ -x "$root/usr/bin/prosody" ]; then
	printf '%s\n' "$root"
	exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
# Somebody else may have made it while we waited.
if [ -x "$root/usr/bin/prosody" ]; then
	printf '%s\n' "$root"
	exit 0
fi
rm -rf "$cache"/debian13* "$cache"/partial.*

# The address from which this machine itself gets the main part of Debian.
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
	awk -v release="$release" '$2 == release && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || fail "apt's sources name no mirror of Debian's $release/main to take $suite from"

proxy=$(apt-config shell p Acquire::http::Proxy)
if [ -n "$proxy" ]; then
	eval "$proxy"
	export http_proxy=$p
fi

partial=$(mktemp -d "$cache/partial.XXXXXX")
log=$cache/debian13.log
trap 'rm -rf "$partial"' EXIT
run() { "$@" </dev/null >>"$log" 2>&1 || { tail -n 30 "$log" >&2; fail "failed: $1 (above is the end of its output)"; }; }
: >"$log"

say "making a Debian 13 root in $root (about a minute, 400 MB, once)"
run debootstrap --variant=minbase --include=ca-certificates "$suite" "$partial" "$mirror"
# No service is to be started inside, neither now nor ever.
printf '#!/bin/sh\nexit 101\n' >"$partial/usr/sbin/policy-rc.d"
chmod 755 "$partial/usr/sbin/policy-rc.d"
cp -L /etc/resolv.conf "$partial/etc/resolv.conf"
say "installing Prosody in it"
run chroot "$partial" apt-get update -qq
run chroot "$partial" env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
	apt-get install -y -qq --no-install-recommends prosody prosody-modules lua-dbi-sqlite3
run chroot "$partial" apt-get clean
chmod 755 "$partial"
mv "$partial" "$root"
say "$(chroot "$root" dpkg-query -W -f '${Package} ${Version}' prosody) is ready"
printf '%s\n' "$root"
