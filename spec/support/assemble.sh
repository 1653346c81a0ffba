#!/usr/bin/env bash
# assemble.sh PLUGIN BUILT LIBRARY: makes the directory PLUGIN what is dropped into a plugin path: the
# shim's files and the native library BUILT under the name LIBRARY.
#
# Files are renamed into place and only if they differ: a running server may have the old ones mapped.
set -euo pipefail

plugin=$1 built=$2 library=$3
source=lua/mod_privilege

put() {
	cmp -s "$1" "$2" && return
	local temporary=$plugin/.${2##*/}.$$
	install -m 644 "$1" "$temporary"
	mv -f "$temporary" "$2"
	printf 'build: %s\n' "$2"
}

mkdir -p "$plugin"
for file in "$source"/*.lua; do
	[ -e "$file" ] || continue
	put "$file" "$plugin/${file##*/}"
done
put "$built" "$plugin/$library"

# Libraries of other versions for the same Lua. A server that has loaded one keeps it.
for file in "$plugin/${library%-*}"-*.so; do
	[ ! -e "$file" ] || [ "${file##*/}" = "$library" ] || rm -f "$file"
done

# Parts of the shim that are no more.
for file in "$plugin"/*.lua; do
	[ ! -e "$file" ] || [ -e "$source/${file##*/}" ] || rm -f "$file"
done
