"""G4: the profile "gateway" is enough for slidge itself, and grants nothing that it does not use.

A real slidge, of the two versions that spec/support/slidge.sh installs, is the component of a real Prosody. It runs
network_double.py in the place of a network, and does what the user writes to the contact "control". Each thing is tried with
wide grants, with the profile, and with wide grants that become the profile while slidge is connected. So a fault of slidge is not taken
for one of the profile, and what the profile refuses is known to have been possible before.
"""

from __future__ import annotations

import re
import urllib.request

import pytest

from running import (
    BOOKMARKS, DISPLAYED, FRIEND, GRANTS, GROUP, HOST, JULIET, SLIDGE, UPLOAD, UPLOADS, VERSIONS, Gateway, options,
)
from harness import PUBSUB, PUBSUB_OWNER
from wire import local, text_of

NURSE, ROMEO = "nurse@capulet.lit", "romeo@montague.lit"
OMEMO, AVATARS, NICK = "eu.siacs.conversations.axolotl.devicelist", "urn:xmpp:avatar:metadata", "http://jabber.org/protocol/nick"
EVENT = f"<event xmlns='{PUBSUB}#event'><items node='{OMEMO}'><item id='current'/></items></event>"
BODY = "<body xmlns='jabber:client'>forged</body>"


@pytest.fixture(scope="module", params=[f"{version}-{grant}" for version in VERSIONS for grant in GRANTS])
def running(request):
    version, grant = request.param.split("-")
    gateway = Gateway(version, grant)
    yield gateway
    try:
        gateway.server.check_log()
    finally:
        gateway.stop()


@pytest.fixture
def gateway(running):
    """slidge at work, which is refused nothing during the test, nor was before it."""
    yield running
    assert running.refused() == []


@pytest.fixture
def forger(running):
    """slidge doing what it has no use for. During the test the module refuses it something, or nothing with wide grants."""
    running.refused()
    yield running
    refused = running.refused()
    assert (refused == []) == (running.grant == "wide"), refused


def is_carbon(part: str):
    return lambda stanza: stanza.find("{urn:xmpp:carbons:2}sent") is not None and part in text_of(stanza)


def is_read(message: str):
    return lambda stanza: local(stanza) == "message" and stanza.findtext("{*}body") == f"the user has read {message}"


# What slidge does


def test_g4_contacts_are_added(gateway):
    """G4: slidge writes itself into the roster at the registration, its first contacts at a login, and others later."""
    assert gateway.ask("add mercutio") == "done"
    roster = text_of(gateway.juliet.iq("get", None, "<query xmlns='jabber:iq:roster'/>"))
    # Version 0.4.2 takes itself for a test of its own: it does not read the roster at a login, nor writes contacts to it.
    at_login = [FRIEND] if gateway.version >= (0, 5) else []
    for contact in (SLIDGE, f"mercutio@{SLIDGE}", *at_login):
        found = re.search(rf'<[^>]*jid="{re.escape(contact)}"[^>]*>', roster)
        assert found and 'subscription="both"' in found[0], roster


def test_g1_contacts_are_compared_and_only_own_ones_are_removed(gateway):
    """G1: slidge's command "sync-contacts" removes from its roster group what it does not know: another gateway's contacts too, with wide grants."""
    other = "somebody@other-gateway.lit"
    for contact in (f"unknown@{SLIDGE}", other):
        item = f"<item jid='{contact}' name='A contact'><group>slidge</group></item>"
        gateway.juliet.iq("set", None, f"<query xmlns='jabber:iq:roster'>{item}</query>")
    said = gateway.sync_contacts()
    number = 2 if gateway.grant == "wide" else 1
    assert f" {number} removed" in said, said
    kept = gateway.server.roster(JULIET)
    assert f"unknown@{SLIDGE}" not in kept and FRIEND in kept
    assert (other in kept) == (gateway.grant != "wide")


def test_g4_what_the_user_does_elsewhere_is_shown(gateway):
    """G4: messages that the user has written, read, corrected and taken back with another client of the network come as carbons."""
    for request, part in (
        ("carbon written elsewhere", "written elsewhere"),
        ("read", "urn:xmpp:chat-markers:0"),
        ("react \u2764", "urn:xmpp:reactions:0"),
        ("correct written better", "urn:xmpp:message-correct:0"),
        ("retract", "urn:xmpp:message-retract:1"),
    ):
        assert gateway.ask(request) == "done"
        copy = gateway.wait_for(is_carbon(part))
        assert FRIEND in text_of(copy)


def test_g4_bookmarks_are_written(gateway):
    """G4: a group of the network is bookmarked, the bookmark is read and changed, and (since slidge 0.5) removed."""
    assert gateway.ask("bookmark") == "done"
    assert GROUP in gateway.items(BOOKMARKS) and "pinned" not in gateway.items(BOOKMARKS)
    assert gateway.ask("bookmark pinned") == "done"
    assert GROUP in gateway.items(BOOKMARKS) and "pinned" in gateway.items(BOOKMARKS)
    if gateway.version >= (0, 5):
        assert gateway.ask("unbookmark") == "done"
        assert GROUP not in gateway.items(BOOKMARKS)


def test_g4_read_markers_are_written_and_read(gateway):
    """G4: slidge publishes a marker of what was read elsewhere, and is told of the marker that a client of the user publishes."""
    assert gateway.ask("mark") == "done"
    # slidge publishes beside its answer, and is told of its own marker as of any other.
    gateway.wait_for(is_read("group-1"))
    assert f'id="{GROUP}"' in gateway.items(DISPLAYED)
    gateway.mark(GROUP, "group-2")
    gateway.wait_for(is_read("group-2"))


def test_g4_a_file_is_uploaded_for_the_user(gateway):
    """G4: slidge takes an upload slot in the user's name, and the file is there."""
    gateway.server.lua(
        """
        prosody.spec_asked = {};
        hook(d, "iq-get/host/urn:xmpp:http:upload:0:request", function (event)
            table.insert(prosody.spec_asked, event.stanza.attr.from);
        end, 10)
        """,
        d=UPLOAD,
    )
    url = gateway.ask(f"upload {gateway.slidge.inside}/file.txt")
    # Where it is refused, slidge asks in its own name. That may be granted too.
    assert gateway.server.lua("return prosody.spec_asked") == [JULIET], url
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"a file"


PUBLISHES_A_MARKER = f"set {PUBSUB} publish publish-options {DISPLAYED} to the account"

USED = {
    "roster get",
    "roster set",
    "roster item own",
    "message from an account to own",
    f"get {PUBSUB} items {BOOKMARKS} to the account",
    f"set {PUBSUB} publish publish-options {BOOKMARKS} to the account",
    f"set {PUBSUB} create {DISPLAYED} to the account",
    PUBLISHES_A_MARKER,
    f"set {PUBSUB_OWNER} affiliations {DISPLAYED} to the account",
    f"get {UPLOADS} to {UPLOAD}",
}
USED_SINCE_0_5 = {f"set {PUBSUB} retract {BOOKMARKS} to the account"}


def test_g4_slidge_uses_all_of_the_profile_and_nothing_beside_it(gateway):
    """G4: each line of the profile is used by slidge, in both versions, and slidge sends nothing else with a privilege."""
    gateway.sent()
    gateway.sync_contacts()
    for request in ("add mercutio", "carbon again", "bookmark", "mark", f"upload {gateway.slidge.inside}/again.txt"):
        gateway.ask(request)
    gateway.server.wait_until("return prosody.spec_sent[what]", timeout=30, what=PUBLISHES_A_MARKER)
    if gateway.version >= (0, 5):
        gateway.ask("unbookmark")
    assert gateway.sent_at_start | gateway.sent() == USED | (USED_SINCE_0_5 if gateway.version >= (0, 5) else set())


# What slidge can no longer do


def done_or_refused(forger: Gateway, request: str, words: str, otherwise: str = "done"):
    """slidge sends something that is done with wide grants. With the profile it is refused, with a text that has these words."""
    said = forger.ask(request)
    if forger.grant == "wide":
        assert said == otherwise, (request, said)
    else:
        assert said.startswith("refused: forbidden ") and words in said, (request, said)


def test_g1_no_other_contacts(forger):
    """G1: slidge no longer reads, changes or removes contacts at any other domain, nor is it pushed them."""
    forger.juliet.iq("set", None, f"<query xmlns='jabber:iq:roster'><item jid='{ROMEO}' name='Romeo'/></query>")
    is_wide = forger.grant == "wide"
    assert (ROMEO in forger.ask("roster").split()) == is_wide
    assert (ROMEO in forger.slidge.log()) == is_wide
    done_or_refused(forger, f"contact {ROMEO} none", 'contacts = "own"')
    assert forger.server.roster(JULIET)[ROMEO]["name"] == ("Set by slidge" if is_wide else "Romeo")
    done_or_refused(forger, f"contact {NURSE} none", 'contacts = "own"')
    assert (NURSE in forger.server.roster(JULIET)) == is_wide
    done_or_refused(forger, f"contact {ROMEO} remove", 'contacts = "own"')
    assert (ROMEO in forger.server.roster(JULIET)) != is_wide


def test_g2_no_messages_to_others(forger):
    """G2: slidge no longer writes to anybody but the user and its own addresses, in the user's name or the host's."""
    nurse, romeo = forger.server.client(NURSE), forger.server.client(ROMEO)
    for from_, to in ((JULIET, NURSE), (JULIET, ROMEO), (HOST, JULIET), (HOST, ROMEO)):
        done_or_refused(forger, f"message {from_} {to} {BODY}", 'message = "own"')
    for peer in (nurse, romeo):
        came = [stanza.get("from") for stanza in peer.drain() if local(stanza) == "message"]
        assert (came != []) == (forger.grant == "wide"), came
        peer.close()


def test_m8_no_pubsub_events(forger):
    """M8: slidge no longer sends pubsub events in the user's name, such as a forged list of encryption keys to the user's own client."""
    said = forger.ask(f"message {JULIET} {JULIET} {EVENT}")
    came = [stanza for stanza in forger.juliet.drain() if local(stanza) == "message" and stanza.find(f"{{{PUBSUB}#event}}event") is not None]
    if forger.grant == "wide":
        assert said == "done" and OMEMO in "".join(map(text_of, came))
    else:
        assert said.startswith("refused: not-acceptable ") and OMEMO not in "".join(map(text_of, came)), said


def test_g3_no_other_nodes(forger):
    """G3: slidge no longer reads or writes any other node of the user: keys, avatars, nicknames."""
    publish = "<publish node='{}'><item id='current'><x xmlns='urn:example:{}'/></item></publish>"
    for node in (OMEMO, AVATARS, NICK):
        forger.juliet.iq("set", None, f"<pubsub xmlns='{PUBSUB}'>{publish.format(node, 'mine')}</pubsub>")
        done_or_refused(forger, f"iq get {JULIET} <pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>", "nodes = ...")
        done_or_refused(forger, f"iq set {JULIET} <pubsub xmlns='{PUBSUB}'>{publish.format(node, 'forged')}</pubsub>", "nodes = ...")
        assert ("urn:example:forged" in forger.items(node)) == (forger.grant == "wide")


def test_g3_no_ownership_of_other_nodes(forger):
    """G3: slidge no longer opens or deletes the bookmarks, or any node but that of the read markers, by requests of their owner."""
    item = f"<item id='room@rooms.lit'><conference xmlns='{BOOKMARKS}'/></item>"
    for node in (BOOKMARKS, OMEMO):
        forger.juliet.iq("set", None, f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'>{item}</publish></pubsub>")
        opened = f"<affiliations node='{node}'><affiliation jid='{ROMEO}' affiliation='member'/></affiliations>"
        for request in (opened, f"<delete node='{node}'/>"):
            done_or_refused(forger, f"iq set {JULIET} <pubsub xmlns='{PUBSUB_OWNER}'>{request}</pubsub>", "nodes = ...")
        assert ("room@rooms.lit" in forger.items(node)) != (forger.grant == "wide")


def test_g3_no_requests_to_others(forger):
    """G3: slidge no longer sends pubsub requests in the user's name to anybody but the user's own account."""
    nurse = forger.server.client(NURSE)
    publish = f"<publish node='{BOOKMARKS}'><item id='current'><x xmlns='urn:x'/></item></publish>"
    done = nurse.iq("set", None, f"<pubsub xmlns='{PUBSUB}'>{publish}{options('open')}</pubsub>")
    assert done.get("type") == "result", text_of(done)
    done_or_refused(forger, f"iq get {NURSE} <pubsub xmlns='{PUBSUB}'><items node='{BOOKMARKS}'/></pubsub>", "to = ...")
    nurse.close()
