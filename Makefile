# mod_privilege: XEP-0356 Privileged Entity for Prosody.
#
# Each target sets up what it lacks by itself (spec/support/setup.sh): on a fresh Debian machine with Rust
# and Python, `make demo` or `make test` is all there is to type.

# Which Lua the native library is for: 5.1, 5.2, 5.3, 5.4 or jit. Prosody's own: `prosodyctl about`.
LUA_VERSION ?= 5.4

PREFIX ?= /usr/local
PLUGINDIR ?= $(PREFIX)/lib/prosody/modules
DESTDIR ?=

# Arguments for the test runner at hand: make test-server ARGS="-k roster -x"
ARGS ?=

CARGO ?= cargo
INSTALL ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
FEATURE := lua$(subst .,,$(LUA_VERSION))
# LuaJIT says of itself that it is 5.1.
LUA_ABI := $(if $(filter jit,$(LUA_VERSION)),5.1,$(LUA_VERSION))
LIBRARY := privilege_native-lua$(LUA_ABI)-$(VERSION).so
CARGO_TARGET_DIR ?= target
BUILT := $(CARGO_TARGET_DIR)/release/libprivilege_native.so

PLUGIN := target/plugins/mod_privilege
LUA_FILES := $(wildcard lua/mod_privilege/*.lua)

SETUP := spec/support/setup.sh
PYTEST := target/venv/bin/python -m pytest
BUSTED := lua5.4 $$(command -v busted)

.NOTPARALLEL:
.DEFAULT_GOAL := all
.PHONY: all build bench bench-core bench-prosody13 bench-count bench-growth check demo doc test test-core test-busted test-server test-prosody13 test-slidge lint install uninstall dist clean help

all: build ## the default: build

build: ## the plugin, ready to drop into any plugin path: target/plugins/mod_privilege
	@$(SETUP) build
	$(CARGO) build --release --locked --no-default-features --features $(FEATURE)
	@spec/support/assemble.sh $(PLUGIN) $(BUILT) $(LIBRARY)

demo: build ## a privileged component at work on a throwaway server, as a transcript
	@$(SETUP) server
	@target/venv/bin/python spec/support/demo.py

test: setup-test test-core test-busted test-server ## all tests but those with Prosody 13

.PHONY: setup-test
setup-test:
	@$(SETUP) build busted server

check: ## the fast part, for every few minutes: rustfmt, clippy, the tests of the core
	@$(SETUP) build
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	$(CARGO) test --locked --quiet $(ARGS)

doc: ## the documentation of the core: target/doc/privilege_native/index.html
	@$(SETUP) build
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

test-core: ## the core, without Lua or a server
	@$(SETUP) build
	$(CARGO) test --locked $(ARGS)

test-busted: build ## the crossing between Lua and the core, and the parts of the shim that need no server
	@$(SETUP) busted
	$(CARGO) build --locked --no-default-features --features $(FEATURE),fault
	$(BUSTED) $(ARGS)

test-server: build ## a real Prosody, a real component, real clients
	@$(SETUP) server
	$(PYTEST) spec/server $(ARGS)

test-slidge: build ## the gateway profile with slidge itself, 0.4 and 0.5, on both Prosodies (needs to be root)
	@$(SETUP) server root13 slidge
	$(PYTEST) spec/slidge $(ARGS)
	@root=$$(spec/support/prosody13.sh) && \
	echo "PROSODY_ROOT=$$root $(PYTEST) spec/slidge $(ARGS)" && \
	PROSODY_ROOT=$$root $(PYTEST) spec/slidge $(ARGS)

test-prosody13: build ## the same on Prosody 13, in a throwaway Debian 13 root (needs to be root)
	@$(SETUP) server root13
	@root=$$(spec/support/prosody13.sh) && \
	echo "PROSODY_ROOT=$$root $(PYTEST) spec/server $(ARGS)" && \
	PROSODY_ROOT=$$root $(PYTEST) spec/server $(ARGS)

bench: build ## a real server without the module, with the community's, with ours: ARGS="--quick", see spec/bench
	@$(SETUP) server
	@target/venv/bin/python spec/bench/bench.py $(ARGS)

bench-prosody13: build ## the same on Prosody 13, in a throwaway Debian 13 root (needs to be root)
	@$(SETUP) server root13
	@root=$$(spec/support/prosody13.sh) && \
	PROSODY_ROOT=$$root target/venv/bin/python spec/bench/bench.py $(ARGS)

bench-count: build ## instructions and garbage for each operation, counted by valgrind on a real server
	@$(SETUP) server count
	@target/venv/bin/python spec/bench/count.py $(ARGS)

bench-growth: build ## how the cost grows with entities, accounts, rosters, lists and requests, counted as well
	@$(SETUP) server count
	@target/venv/bin/python spec/bench/growth.py $(ARGS)

bench-core: build ## the core alone, and the crossing from Lua into it
	@$(SETUP) server
	$(CARGO) bench --locked --bench core -- --warm-up-time 1 --measurement-time 3 $(ARGS)
	lua5.4 spec/bench/border.lua

lint: ## rustfmt, clippy and rustdoc with warnings denied, luacheck, the rules of ARCHITECTURE.md
	@$(SETUP) build lint
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items
	luacheck --quiet --no-color lua spec .luacheckrc .busted
	python3 spec/support/check_docstrings.py
	python3 spec/support/check_shape.py

install: ## into PLUGINDIR (Debian's for local plugins by default); DESTDIR is honoured
	@test -e $(PLUGIN)/$(LIBRARY) || $(MAKE) --no-print-directory build
	$(INSTALL) -d $(DESTDIR)$(PLUGINDIR)/mod_privilege
	$(INSTALL) -m 644 $(PLUGIN)/*.lua $(DESTDIR)$(PLUGINDIR)/mod_privilege/
	$(INSTALL) -m 644 $(PLUGIN)/$(LIBRARY) $(DESTDIR)$(PLUGINDIR)/mod_privilege/.$(LIBRARY).new
	mv -f $(DESTDIR)$(PLUGINDIR)/mod_privilege/.$(LIBRARY).new $(DESTDIR)$(PLUGINDIR)/mod_privilege/$(LIBRARY)

uninstall: ## removes what install put there
	rm -rf $(DESTDIR)$(PLUGINDIR)/mod_privilege

dist: build ## target/dist/mod_privilege-VERSION-luaX.Y-MACHINE.tar.gz: unpack into a plugin path
	@mkdir -p target/dist
	@archive=target/dist/mod_privilege-$(VERSION)-lua$(LUA_ABI)-$$(uname -m).tar.gz && \
	tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
		--mtime="@$$(git log -1 --format=%ct)" --transform='s,^\([^m]\),mod_privilege/\1,' \
		-C target/plugins $(addprefix mod_privilege/,$(notdir $(LUA_FILES)) $(LIBRARY)) \
		-C "$(CURDIR)" $(wildcard README.md LICENSE) | gzip -n9 >$$archive && \
	sha256sum $$archive

clean: ## everything made here; not the Debian 13 root, which is in the user's cache
	rm -rf target

help: ## this
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20
