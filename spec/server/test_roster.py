"""R1 to R6, R8 and R9: an entity reads and writes rosters, and everybody else is refused."""

from __future__ import annotations

import pytest

from harness import Prosody
from watching import client_pushes, read_items
from wire import error_of, local, payload, text_of
from words import FORBIDDEN, forget_rosters, item, log_in, query

JULIET, NURSE, ROMEO = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"
QUERY = "<query xmlns='jabber:iq:roster'/>"
MALFORMED = {("modify", "bad-request"), ("modify", "jid-malformed")}
BAD_REQUEST = {("modify", "bad-request")}
FAILED = ("wait", "internal-server-error")


@pytest.fixture(scope="module")
def session_server():
    grants = {
        "capulet.lit": {
            "pubsub.capulet.lit": {"roster": "both"},
            "gateway.capulet.lit": {"roster": "both", "roster_push": False},
            "reader.lit": {"roster": "get", "roster_push": False},
            "writer.lit": {"roster": "set"},
            "benvolio@montague.lit": {"roster": "both", "roster_push": False},
        }
    }
    with Prosody(privileged_entities=grants, components=("reader.lit", "writer.lit")) as running:
        yield running


def get_roster(peer, account: str | None) -> dict:
    answer = peer.iq("get", account, QUERY)
    assert answer.get("type") == "result", text_of(answer)
    assert len(answer) == 1
    return read_items(answer[0])


def set_roster(component, account: str, *items: str):
    """Sets, and returns the one and only reply there must be."""
    id_ = component.send_iq("set", account, query(*items))
    component.sync()
    replies = [s for s in component.inbox if local(s) == "iq" and s.get("id") == id_ and s.get("type") != "set"]
    assert len(replies) == 1, [text_of(reply) for reply in replies]
    component.inbox.remove(replies[0])
    assert (replies[0].get("from"), replies[0].get("to")) == (account.lower(), component.jid)
    return replies[0]


def must_set(component, account: str, *items: str):
    answer = set_roster(component, account, *items)
    assert answer.get("type") == "result", text_of(answer)
    assert len(answer) == 0, text_of(answer)


def state(server, jid: str):
    """All that is stored of a roster and all that is held of it, private rows and version included."""
    user, host = jid.split("@")
    stored = "return (storagemanager.open(h, 'roster'):get(user))"
    held = "return (rostermanager.load_roster(user, h))"
    return [server.lua(code, h=host, user=user) for code in (stored, held)]


def count_saves(server, host: str = "capulet.lit"):
    """From now on every write of a whole roster to the storage is counted; returns how to ask."""
    server.lua(
        """
        prosody.spec_saves = 0;
        hook(h, "store-opened", function (event)
            local real = event.store;
            if event.store_name ~= "roster" or type(real) ~= "table" then return; end
            if event.store_type and event.store_type ~= "keyval" then return; end
            event.store = setmetatable({}, { __index = function (_, key)
                local value = real[key];
                if type(value) ~= "function" then return value; end
                return function (_, ...)
                    if key == "set" then prosody.spec_saves = prosody.spec_saves + 1; end
                    return value(real, ...);
                end
            end });
        end);
        """,
        h=host,
    )
    return lambda: server.lua("return prosody.spec_saves")


# R1


EVERY_KIND = {
    "none@stranger.lit": {"subscription": "none", "name": "None"},
    "to@stranger.lit": {"subscription": "to", "name": "To", "groups": ["One"]},
    "from@stranger.lit": {"subscription": "from", "groups": ["One", "Two"]},
    "both@stranger.lit": {"subscription": "both", "name": "Both", "groups": ["Three"]},
    "asked@stranger.lit": {"subscription": "none", "ask": "subscribe"},
    "from-asked@stranger.lit": {"subscription": "from", "ask": "subscribe", "name": "Both soon"},
    "icq.stranger.lit": {"subscription": "to", "name": "A gateway"},
}


def put_every_kind(server, account: str) -> dict:
    for contact, stored in EVERY_KIND.items():
        server.put_roster_item(account, contact, **stored)
    return {contact: {"groups": [], **stored} for contact, stored in EVERY_KIND.items()}


def test_r1_the_roster_as_the_account_sees_it(server, component):
    """R1: a get answers with every item with name, subscription, ask and groups, whether the account is online or not."""
    expected = put_every_kind(server, JULIET)
    assert get_roster(component, JULIET) == expected
    forget_rosters(server)
    assert get_roster(component, JULIET) == expected
    juliet = server.client(JULIET)
    assert read_items(juliet.roster[0]) == expected
    assert get_roster(component, JULIET) == expected


def test_r1_a_preapproval_is_shown(server, component):
    """R1: `approved` is in the answer where the server has it."""
    server.put_roster_item(NURSE, "peter@stranger.lit", approved="true")
    server.put_roster_item(NURSE, "other@stranger.lit", subscription="none")
    found = get_roster(component, NURSE)
    assert found["peter@stranger.lit"]["approved"] == "true"
    assert "approved" not in found["other@stranger.lit"]


def test_r1_the_answer_is_addressed_and_once(server, component):
    """R1: one answer comes from the account's bare JID to the entity, with the id of the request; it is empty for an account
    without contacts."""
    id_ = component.send_iq("get", "Juliet@CAPULET.lit", QUERY)
    replies = component.drain()
    replies = [s for s in replies if local(s) == "iq"]
    assert [(s.get("type"), s.get("from"), s.get("to"), s.get("id")) for s in replies] == [
        ("result", JULIET, component.jid, id_)
    ]
    assert len(replies[0]) == 1 and replies[0][0].tag == "{jabber:iq:roster}query" and len(replies[0][0]) == 0


@pytest.mark.parametrize("how_many", (0, 3))
def test_r1_ver_is_handled_as_for_the_account(server, component, how_many):
    """R1: `ver` is handled as for the account: the same `ver` gets the same kind of answer."""
    for number in range(how_many):
        server.put_roster_item(JULIET, f"contact{number}@stranger.lit", subscription="none")
    juliet = server.client(JULIET)
    current = juliet.iq("get", None, QUERY)[0].get("ver")
    assert component.iq("get", JULIET, QUERY)[0].get("ver") == current
    empty = 0
    for ver in (current, "", "0", str(int(current) - 1), str(int(current) + 1), "abc", "-1"):
        asked = f"<query xmlns='jabber:iq:roster' ver='{ver}'/>"
        hers, ours = juliet.iq("get", None, asked), component.iq("get", JULIET, asked)
        assert (hers.get("type"), ours.get("type")) == ("result", "result")
        assert len(hers) == len(ours), f"ver {ver!r}: {text_of(hers)} but {text_of(ours)}"
        if len(ours):
            assert ours[0].get("ver") == current
            assert len(ours[0]) == how_many
        empty += len(ours) == 0
    assert empty == 1


def test_r1_ver_moves_with_every_change(server, component):
    """R1: a `ver` from before a change gets the whole roster, also where this entity made the change."""
    must_set(component, NURSE, item("peter@stranger.lit"))
    before = component.iq("get", NURSE, QUERY)[0].get("ver")
    asked = f"<query xmlns='jabber:iq:roster' ver='{before}'/>"
    assert len(component.iq("get", NURSE, asked)) == 0
    must_set(component, NURSE, item("peter@stranger.lit", name="Peter"))
    answer = component.iq("get", NURSE, asked)
    assert list(read_items(answer[0])) == ["peter@stranger.lit"]
    assert answer[0].get("ver") != before


@pytest.mark.parametrize("smacks", (False, True), ids=("plain", "smacks"))
def test_r1_r2_an_account_as_the_entity(server, smacks):
    """R1, R2: a client of an account entity reads and writes as a component does, from any of its resources."""
    expected = put_every_kind(server, JULIET)
    juliet = log_in(server, JULIET)
    benvolio = server.client("benvolio@montague.lit", smacks=smacks)
    assert get_roster(benvolio, JULIET) == expected
    answer = benvolio.iq("set", JULIET, query(item("to@stranger.lit", "One", name="New", subscription="both")))
    assert (answer.get("type"), answer.get("from"), answer.get("to"), len(answer)) == ("result", JULIET, benvolio.jid, 0)
    changed = {"name": "New", "subscription": "both", "groups": ["One"]}
    assert client_pushes(juliet) == [("to@stranger.lit", changed)]
    assert get_roster(benvolio, JULIET) == {**expected, "to@stranger.lit": changed}
    answer = benvolio.iq("set", JULIET, query(item("c@stranger.lit", subscription="remove")))
    assert error_of(answer)[:2] == ("cancel", "item-not-found")
    if smacks:
        # Had the server counted other stanzas than it sent, this would end the stream.
        benvolio.send(f"<a xmlns='urn:xmpp:sm:3' h='{benvolio.sm_handled}'/>")
        benvolio.sync()
    # The privilege is the account's, not its host's.
    assert error_of(server.client(ROMEO).iq("get", JULIET, QUERY))[:2] == FORBIDDEN


# R2


@pytest.mark.parametrize("subscription", ("none", "to", "from", "both"))
def test_r2_the_subscription_is_honoured(server, component, subscription):
    """R2: a set's subscription is honoured, which a client's own set is not."""
    contact = "romeo@stranger.lit"
    juliet = server.client(JULIET)
    must_set(component, JULIET, item(contact, "Lovers", name="Romeo", subscription=subscription))
    expected = {"name": "Romeo", "subscription": subscription, "groups": ["Lovers"]}
    assert get_roster(component, JULIET) == get_roster(juliet, None) == {contact: expected}
    assert server.roster(JULIET)[contact]["subscription"] == subscription
    assert client_pushes(juliet) == [(contact, expected)]
    # Her own client's is not.
    juliet.iq("set", None, query(item(contact, subscription="both", name="R")))
    assert get_roster(component, JULIET)[contact]["subscription"] == subscription


def test_r2_what_was_set_takes_effect_at_once(server, component, stranger):
    """R2: a contact that is set to `from` gets the account's presence, and one that is set to `none` no longer does."""
    juliet = server.client(JULIET)
    must_set(component, JULIET, item("x@stranger.lit", subscription="from"))
    juliet.send_presence(content="<show>away</show>")
    juliet.sync()
    assert [s.get("to") for s in stranger.drain() if local(s) == "presence" and s.get("type") is None][-1:] == [
        "x@stranger.lit"
    ]
    must_set(component, JULIET, item("x@stranger.lit", subscription="none"))
    stranger.drain()
    juliet.send_presence(content="<show>dnd</show>")
    juliet.sync()
    assert [s for s in stranger.drain() if local(s) == "presence" and s.get("type") is None] == []


def test_r2_a_push_per_changed_item_to_each_interested_resource(server, component):
    """R2: each changed item is pushed to the account's interested resources, and to nobody else."""
    one, two = server.client(JULIET), server.client(JULIET, presence=False)
    deaf, nurse = server.client(JULIET, roster=False), server.client(NURSE)
    contacts = [f"contact{number}@stranger.lit" for number in range(5)]
    must_set(component, JULIET, *(item(contact, name=contact) for contact in contacts))
    expected = sorted((contact, {"name": contact, "subscription": "none", "groups": []}) for contact in contacts)
    for client in (one, two):
        assert sorted(client_pushes(client), key=lambda push: push[0]) == expected
    assert client_pushes(deaf) == client_pushes(nurse) == []

    # Three of five really change, one of them goes.
    must_set(
        component,
        JULIET,
        item(contacts[0], name="New"),
        item(contacts[1], name=contacts[1]),
        item(contacts[2], "Group", subscription="to"),
        item(contacts[3], name=contacts[3], subscription="none"),
        item(contacts[4], subscription="remove"),
    )
    for client in (one, two):
        came = client_pushes(client)
        assert len(came) == 3
        assert dict(came) == {
            contacts[0]: {"name": "New", "subscription": "none", "groups": []},
            contacts[2]: {"name": contacts[2], "subscription": "to", "groups": ["Group"]},
            contacts[4]: {"subscription": "remove", "groups": []},
        }
    assert client_pushes(deaf) == client_pushes(nurse) == []


def test_r2_pushes_are_stanzas_for_stream_management_too(server, component):
    """R2: the server's stream management counts the pushes, or the client's next acknowledgement would end its stream."""
    juliet = server.client(JULIET, smacks=True)
    must_set(component, JULIET, *(item(f"contact{number}@stranger.lit") for number in range(3)))
    assert len(client_pushes(juliet)) == 3
    juliet.send(f"<a xmlns='urn:xmpp:sm:3' h='{juliet.sm_handled}'/>")
    juliet.sync()


def test_r2_one_save_for_all_items(server, component):
    """R2: a set is one durable save, however many items it has, and the reply comes after it."""
    server.client(JULIET)
    for account in (JULIET, NURSE):
        saves = count_saves(server)
        must_set(component, account, *(item(f"contact{number}@stranger.lit") for number in range(20)))
        assert saves() == 1
        assert len(server.roster(account)) == 20
        must_set(
            component,
            account,
            item("contact0@stranger.lit", subscription="remove"),
            item("contact1@stranger.lit", name="One"),
            item("new@stranger.lit"),
        )
        assert saves() == 2
        server.lua("unhook_all()")


def test_r2_what_is_set_is_durable(server, component):
    """R2: a set is in the storage when the reply comes, and nothing that was there is lost."""
    put_every_kind(server, NURSE)
    must_set(component, NURSE, item("new@stranger.lit", "New", subscription="both"))
    assert set(server.roster(NURSE)) == {*EVERY_KIND, "new@stranger.lit"}
    forget_rosters(server)
    found = get_roster(component, NURSE)
    assert set(found) == {*EVERY_KIND, "new@stranger.lit"}
    assert found["new@stranger.lit"] == {"subscription": "both", "groups": ["New"]}
    nurse = server.client(NURSE)
    assert read_items(nurse.roster[0]) == found


def test_r2_nothing_changed_means_no_push_and_no_save(server, component):
    """R2: a set that changes nothing gets an ordinary result, and everything stays as it was, the version included."""
    put_every_kind(server, JULIET)
    juliet = server.client(JULIET)
    for account in (JULIET, NURSE):
        must_set(component, account, item("both@stranger.lit", "Three", name="Both", subscription="both"))
    client_pushes(juliet)
    before = [state(server, account) for account in (JULIET, NURSE)]
    saves = count_saves(server)
    for account in (JULIET, NURSE):
        must_set(component, account, item("both@stranger.lit", "Three", name="Both", subscription="both"))
        must_set(component, account, item("BOTH@Stranger.lit", "Three"))
    must_set(component, JULIET, item("to@stranger.lit", "One"), item("icq.stranger.lit"))
    assert saves() == 0
    assert client_pushes(juliet) == []
    assert [state(server, account) for account in (JULIET, NURSE)] == before


def test_r2_the_account_and_several_entities_see_each_other(server, component, gateway):
    """R2: no change is lost, whether the account or one of several entities made it, in any order."""
    juliet = server.client(JULIET)
    must_set(component, JULIET, item("a@stranger.lit", subscription="both"))
    juliet.iq("set", None, query(item("b@stranger.lit", name="B")))
    must_set(gateway, JULIET, item("c@stranger.lit", subscription="to"))
    juliet.iq("set", None, query(item("a@stranger.lit", name="A")))
    must_set(component, JULIET, item("b@stranger.lit", subscription="remove"))
    expected = {
        "a@stranger.lit": {"name": "A", "subscription": "both", "groups": []},
        "c@stranger.lit": {"subscription": "to", "groups": []},
    }
    assert get_roster(juliet, None) == get_roster(component, JULIET) == get_roster(gateway, JULIET) == expected
    assert set(server.roster(JULIET)) == set(expected)


def test_r2_pipelined_sets_have_one_reply_each_in_order(server, component):
    """R2: each of several pipelined sets has exactly one reply, and the last one is what stays."""
    server.client(JULIET)
    ids = []
    for number in range(100):
        account = (JULIET, NURSE)[number % 2]
        ids.append(component.send_iq("set", account, query(item(f"c{number % 7}@stranger.lit", name=str(number)))))
    replies = [(s.get("id"), s.get("type")) for s in component.drain() if s.get("id") in set(ids)]
    assert replies == [(id_, "result") for id_ in ids]
    for number in range(98, 100):
        account = (JULIET, NURSE)[number % 2]
        assert get_roster(component, account)[f"c{number % 7}@stranger.lit"]["name"] == str(number)


def test_r2_five_thousand_items(server, component):
    """R2: a set of 5,000 items is one save, one reply and one push each, and is read back whole."""
    juliet = server.client(JULIET)
    contacts = {f"contact{number}@stranger.lit": f"Name {number}" for number in range(5000)}
    saves = count_saves(server)
    must_set(component, JULIET, *(item(contact, name=name) for contact, name in contacts.items()))
    assert saves() == 1
    came = client_pushes(juliet)
    assert len(came) == 5000 and {contact: push["name"] for contact, push in came} == contacts
    found = get_roster(component, JULIET)
    assert {contact: entry["name"] for contact, entry in found.items()} == contacts
    must_set(component, JULIET, item("contact77@stranger.lit", name="Changed"))
    assert [contact for contact, _ in client_pushes(juliet)] == ["contact77@stranger.lit"]


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_r2_all_or_nothing(server, component, online):
    """R2: all items are applied or none: one bad item, wherever it stands, means no change and no push."""
    put_every_kind(server, JULIET)
    juliet = log_in(server, JULIET) if online else None
    good = [
        item("to@stranger.lit", name="Changed"),
        item("both@stranger.lit", subscription="remove"),
        item("new@stranger.lit", "New", subscription="both"),
    ]
    before = state(server, JULIET)
    saves = count_saves(server)
    for name, (bad, allowed) in BAD_ITEMS.items():
        for items in ([bad, *good], [good[0], bad, *good[1:]], [*good, bad]):
            answer = set_roster(component, JULIET, *items)
            assert answer.get("type") == "error", name
            assert error_of(answer)[:2] in allowed, f"{name}: {text_of(answer)}"
    assert saves() == 0
    assert state(server, JULIET) == before
    if juliet:
        assert client_pushes(juliet) == []


# R3


#: Stored before, set, expected after.
CHANGES = {
    "only a name": (
        {"subscription": "both", "name": "Old", "groups": ["G"]},
        item("c@stranger.lit", name="New"),
        {"subscription": "both", "name": "New", "groups": []},
    ),
    "only groups": (
        {"subscription": "to", "name": "Old", "groups": ["G", "H"]},
        item("c@stranger.lit", "H", "I"),
        {"subscription": "to", "name": "Old", "groups": ["H", "I"]},
    ),
    "only a subscription": (
        {"subscription": "to", "name": "Old", "groups": ["G"]},
        item("c@stranger.lit", "G", subscription="from"),
        {"subscription": "from", "name": "Old", "groups": ["G"]},
    ),
    "an empty name": (
        {"subscription": "from", "name": "Old", "groups": ["G"]},
        item("c@stranger.lit", "G", name=""),
        {"subscription": "from", "groups": ["G"]},
    ),
    "nothing given of a new one": (None, item("c@stranger.lit"), {"subscription": "none", "groups": []}),
    "an empty name of a new one": (None, item("c@stranger.lit", name=""), {"subscription": "none", "groups": []}),
    "asking goes on": (
        {"subscription": "none", "ask": "subscribe", "name": "Old"},
        item("c@stranger.lit", name="New"),
        {"subscription": "none", "ask": "subscribe", "name": "New", "groups": []},
    ),
    "asking goes on beside from": (
        {"subscription": "none", "ask": "subscribe"},
        item("c@stranger.lit", subscription="from"),
        {"subscription": "from", "ask": "subscribe", "groups": []},
    ),
    "asking goes on beside none": (
        {"subscription": "from", "ask": "subscribe"},
        item("c@stranger.lit", subscription="none"),
        {"subscription": "none", "ask": "subscribe", "groups": []},
    ),
    "to ends asking": (
        {"subscription": "none", "ask": "subscribe"},
        item("c@stranger.lit", subscription="to"),
        {"subscription": "to", "groups": []},
    ),
    "both ends asking": (
        {"subscription": "from", "ask": "subscribe"},
        item("c@stranger.lit", subscription="both"),
        {"subscription": "both", "groups": []},
    ),
    "a preapproval survives a rename": (
        {"subscription": "none", "approved": "true", "name": "Old"},
        item("c@stranger.lit", name="New"),
        {"subscription": "none", "approved": "true", "name": "New", "groups": []},
    ),
}


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_r3_what_is_absent_stays(server, component, online):
    """R3: an absent attribute keeps what the item has; groups are replaced, and an empty name clears it."""
    juliet = log_in(server, JULIET) if online else None
    for name, (before, change, after) in CHANGES.items():
        server.put_roster_item(JULIET, "c@stranger.lit", **(before or {}))
        must_set(component, JULIET, change)
        assert get_roster(component, JULIET) == {"c@stranger.lit": after}, name
        stored = server.roster(JULIET)["c@stranger.lit"]
        assert {key: stored.get(key) for key in ("name", "subscription", "ask", "approved")} == {
            key: after.get(key) for key in ("name", "subscription", "ask", "approved")
        }, name
        assert sorted(stored.get("groups") or {}) == after["groups"], name
        if juliet and before:
            pushed = client_pushes(juliet)
            assert [contact for contact, _ in pushed] == ["c@stranger.lit"], name
            pushed[0][1].pop("approved", None)
            assert pushed[0][1] == {key: value for key, value in after.items() if key != "approved"}, name
        elif juliet:
            client_pushes(juliet)


# R4


#: An item (or what stands in its place), and the errors that are right.
BAD_ITEMS = {
    "unknown subscription": (item("c@stranger.lit", subscription="friend"), BAD_REQUEST),
    "subscription in capitals": (item("c@stranger.lit", subscription="BOTH"), BAD_REQUEST),
    "empty subscription": (item("c@stranger.lit", subscription=""), BAD_REQUEST),
    "no jid": (item(None, name="Nobody"), MALFORMED),
    "empty jid": (item(""), MALFORMED),
    "no localpart": (item("@stranger.lit"), MALFORMED),
    "no domain": (item("c@"), MALFORMED),
    "two localparts": (item("a@b@stranger.lit"), MALFORMED),
    "a space in the localpart": (item("a b@stranger.lit"), MALFORMED),
    "resource": (item("c@stranger.lit/home"), MALFORMED),
    "resource to be removed": (item("to@stranger.lit/home", subscription="remove"), MALFORMED),
    "empty resource": (item("c@stranger.lit/"), MALFORMED),
    "the longest address and more": (item("c" * 1024 + "@stranger.lit"), MALFORMED),
    "foreign child": ("<x xmlns='urn:example:x'/>", BAD_REQUEST),
    "item of another namespace": ("<item xmlns='urn:example:x' jid='c@stranger.lit'/>", BAD_REQUEST),
    "no item": ("<group>G</group>", BAD_REQUEST),
    "foreign child in an item": ("<item jid='c@stranger.lit'><x xmlns='urn:example:x'/></item>", BAD_REQUEST),
    "item in an item": ("<item jid='c@stranger.lit'><item jid='d@stranger.lit'/></item>", BAD_REQUEST),
    "empty group": ("<item jid='c@stranger.lit'><group/></item>", {("modify", "not-acceptable")}),
    "empty group among others": (item("c@stranger.lit", "G", "", "H"), {("modify", "not-acceptable")}),
    "the account itself": (item(JULIET), {("cancel", "not-allowed")}),
    "the account itself in capitals": (item("JULIET@capulet.LIT", subscription="both"), {("cancel", "not-allowed")}),
    "the account itself to be removed": (item(JULIET, subscription="remove"), {("cancel", "not-allowed")}),
    "removal of what is not there": (item("c@stranger.lit", subscription="remove"), {("cancel", "item-not-found")}),
    "the same group twice": (item("c@stranger.lit", "G", "H", "G"), BAD_REQUEST),
    "the same contact twice": (item("c@stranger.lit") + item("c@stranger.lit"), BAD_REQUEST),
    "the same contact in two spellings": (item("c@stranger.lit") + item("C@Stranger.LIT", name="C"), BAD_REQUEST),
    "the same contact set and removed": (
        item("from@stranger.lit") + item("from@stranger.lit", subscription="remove"),
        BAD_REQUEST,
    ),
}


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_r4_what_is_no_roster_set_is_refused(server, component, online):
    """R4: a malformed set is refused with the error of its kind, and changes nothing."""
    put_every_kind(server, JULIET)
    juliet = log_in(server, JULIET) if online else None
    before = state(server, JULIET)
    contents = {name: ((xml,), allowed) for name, (xml, allowed) in BAD_ITEMS.items()}
    contents["nothing at all"] = ((), BAD_REQUEST)
    contents["only text"] = (("both",), BAD_REQUEST)
    for name, (items, allowed) in contents.items():
        answer = set_roster(component, JULIET, *items)
        assert answer.get("type") == "error", name
        assert error_of(answer)[:2] in allowed, f"{name}: {text_of(answer)}"
    assert state(server, JULIET) == before
    if juliet:
        assert client_pushes(juliet) == []


def test_r4_without_the_permission(server):
    """R4: a get permission does not allow a set, nor a set permission a get."""
    put_every_kind(server, JULIET)
    before = state(server, JULIET)
    reader, writer = server.component("reader.lit"), server.component("writer.lit")
    assert set(get_roster(reader, JULIET)) == set(EVERY_KIND)
    assert error_of(set_roster(reader, JULIET, item("new@stranger.lit")))[:2] == FORBIDDEN
    assert error_of(set_roster(reader, JULIET, item("both@stranger.lit", subscription="remove")))[:2] == FORBIDDEN
    assert error_of(writer.iq("get", JULIET, QUERY))[:2] == FORBIDDEN
    assert state(server, JULIET) == before
    must_set(writer, JULIET, item("new@stranger.lit"))
    assert "new@stranger.lit" in get_roster(reader, JULIET)


def test_r4_unknown_accounts(server, component):
    """R4, L7: an unknown or deleted account is `cancel/item-not-found`, and has no roster afterwards."""
    must_set(component, NURSE, item("peter@stranger.lit"))
    server.delete_account(NURSE)
    for account in ("ghost@capulet.lit", NURSE, "gh%ost@capulet.lit"):
        answers = [component.iq("get", account, QUERY), set_roster(component, account, item("c@stranger.lit"))]
        answers.append(set_roster(component, account, item("c@stranger.lit", subscription="remove")))
        assert [error_of(answer)[:2] for answer in answers] == [("cancel", "item-not-found")] * 3, account
        assert server.roster(account) == {}
    # One created again under the same name starts afresh.
    server.add_account(NURSE)
    assert get_roster(component, NURSE) == {}


STORAGE_SETS = {
    "a new item": [item("new@stranger.lit", "New", subscription="both")],
    "a changed item": [item("both@stranger.lit", name="Changed", subscription="none")],
    "a removal": [item("both@stranger.lit", subscription="remove")],
    "several": [
        item("new@stranger.lit"),
        item("to@stranger.lit", name="Changed"),
        item("from@stranger.lit", subscription="remove"),
    ],
}


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_r4_a_storage_that_cannot_be_written(server, component, stranger, online):
    """R4: a storage failure is `wait/internal-server-error` with memory and storage as before; nobody is told, and nothing is
    made up for later."""
    expected = put_every_kind(server, JULIET)
    juliet = log_in(server, JULIET) if online else None
    stranger.drain()
    before = state(server, JULIET)
    server.lua("break_store('capulet.lit', 'roster')")
    for name, items in STORAGE_SETS.items():
        answer = set_roster(component, JULIET, *items)
        assert error_of(answer)[:2] == FAILED, name
    assert get_roster(component, JULIET) == expected
    server.lua("mend_stores()")
    assert state(server, JULIET) == before
    if juliet:
        assert client_pushes(juliet) == []
        assert get_roster(juliet, None) == expected
    # A removal that was not saved has cancelled no subscription.
    assert [text_of(s) for s in stranger.drain() if local(s) == "presence" and s.get("type") != "probe"] == []

    # When the storage works again, the next set is done, and only that one.
    must_set(component, JULIET, item("later@stranger.lit"))
    expected["later@stranger.lit"] = {"subscription": "none", "groups": []}
    assert get_roster(component, JULIET) == expected
    assert set(server.roster(JULIET)) == set(expected)
    if juliet:
        assert [contact for contact, _ in client_pushes(juliet)] == ["later@stranger.lit"]


def test_r4_a_storage_that_cannot_be_read(server, component):
    """R4: a roster that cannot be read is an error: it is neither shown as empty, nor overwritten, nor remembered."""
    expected = put_every_kind(server, NURSE)
    stored = state(server, NURSE)[0]
    forget_rosters(server)
    server.lua("break_store('capulet.lit', 'roster', true)")
    assert error_of(component.iq("get", NURSE, QUERY))[:2] == FAILED
    for items in STORAGE_SETS.values():
        assert error_of(set_roster(component, NURSE, *items))[:2] == FAILED
    assert error_of(component.iq("get", NURSE, QUERY))[:2] == FAILED
    server.lua("mend_stores()")
    assert state(server, NURSE)[0] == stored
    assert get_roster(component, NURSE) == expected
    must_set(component, NURSE, item("later@stranger.lit"))
    assert set(server.roster(NURSE)) == {*expected, "later@stranger.lit"}


# R5


REMOVALS = {
    "both": ({"subscription": "both"}, False, {"unsubscribe", "unsubscribed"}),
    "to": ({"subscription": "to"}, False, {"unsubscribe"}),
    "from": ({"subscription": "from"}, False, {"unsubscribed"}),
    "none": ({"subscription": "none"}, False, set()),
    "none, asked": ({"subscription": "none", "ask": "subscribe"}, False, {"unsubscribe"}),
    "from, asked": ({"subscription": "from", "ask": "subscribe"}, False, {"unsubscribe", "unsubscribed"}),
    "none, a request pending": ({"subscription": "none"}, True, {"unsubscribed"}),
    "to, a request pending": ({"subscription": "to"}, True, {"unsubscribe", "unsubscribed"}),
}


def put_contact(server, account: str, contact: str, stored: dict, pending: bool):
    user, host = account.split("@")
    server.put_roster_item(account, contact, **stored)
    server.lua(
        """
        local roster = rostermanager.load_roster(user, h);
        roster[false].pending[contact] = pending or nil;
        assert(rostermanager.save_roster(user, h, roster, contact));
        """,
        user=user,
        h=host,
        contact=contact,
        pending=pending,
    )


def presences(component) -> list[tuple]:
    """Presence that has come, in an order that does not matter; somebody's asking for presence is none.

    Of subscriptions only the account counts: the server leaves a client's resource on them, which says nothing.
    """
    return sorted(
        (
            s.get("type") or "",
            s.get("from").partition("/")[0] if "subscri" in (s.get("type") or "") else s.get("from"),
            s.get("to"),
        )
        for s in component.drain()
        if local(s) == "presence" and s.get("type") != "probe"
    )


def test_r5_a_removal_is_as_the_accounts_own(server, component, stranger):
    """R5: a removal has the effects of the account removing it, for the contact and for the account's clients."""
    juliet = server.client(JULIET)
    contact = "x@stranger.lit"
    for name, (stored, pending, types) in REMOVALS.items():
        told = []
        for actor in ("account", "entity"):
            put_contact(server, JULIET, contact, stored, pending)
            juliet.drain()
            stranger.drain()
            if actor == "account":
                assert juliet.iq("set", None, query(item(contact, subscription="remove"))).get("type") == "result"
                juliet.sync()
            else:
                must_set(component, JULIET, item(contact, subscription="remove"))
            told.append((presences(stranger), client_pushes(juliet)))
        assert told[0] == told[1], name
        subscriptions = {(type_, from_) for type_, from_, _ in told[1][0] if type_ != "unavailable"}
        assert subscriptions == {(type_, JULIET) for type_ in types}, name
        assert told[1][1] == [(contact, {"subscription": "remove", "groups": []})], name
        # A request that was answered by the removal waits no longer.
        left = "local r = rostermanager.load_roster('juliet', 'capulet.lit'); return r[c], r[false].pending[c]"
        assert server.lua(left, c=contact) == [None, None], name


def test_r5_a_removal_while_the_account_is_offline(server, component, stranger):
    """R5: a removal is told to the contact also while the account is offline."""
    contact = "x@stranger.lit"
    for name, (stored, pending, types) in REMOVALS.items():
        put_contact(server, NURSE, contact, stored, pending)
        must_set(component, NURSE, item(contact, subscription="remove"))
        came = {(type_, from_, to) for type_, from_, to in presences(stranger)}
        assert came == {(type_, NURSE, contact) for type_ in types}, name
        assert get_roster(component, NURSE) == {}
        assert server.roster(NURSE) == {}


def test_r5_a_removal_reaches_a_contact_of_this_server(server, component, romeo):
    """R5: a removal reaches the roster and the clients of a contact on another host of this server."""
    juliet = server.client(JULIET)
    server.put_roster_item(JULIET, ROMEO, subscription="both")
    server.put_roster_item(ROMEO, JULIET, subscription="both", name="Juliet")
    must_set(component, JULIET, item(ROMEO, subscription="remove"))
    came = romeo.drain()
    assert [s for s in came if local(s) == "presence" and s.get("type") == "unavailable" and s.get("from") == juliet.jid]
    assert server.roster(ROMEO)[JULIET]["subscription"] == "none"
    pushed = [read_items(payload(s)) for s in came if local(s) == "iq"]
    assert pushed[-1] == {JULIET: {"name": "Juliet", "subscription": "none", "groups": []}}
    assert server.roster(JULIET) == {}


def test_r5_only_what_was_removed_is_cancelled(server, component, stranger):
    """R5: a removal cancels the subscriptions of that contact only, among several items and contacts of the same domain."""
    put_every_kind(server, JULIET)
    must_set(
        component,
        JULIET,
        item("both@stranger.lit", subscription="remove"),
        item("from@stranger.lit", subscription="remove"),
        item("to@stranger.lit", name="Stays"),
    )
    assert presences(stranger) == sorted(
        [
            ("unsubscribe", JULIET, "both@stranger.lit"),
            ("unsubscribed", JULIET, "both@stranger.lit"),
            ("unsubscribed", JULIET, "from@stranger.lit"),
        ]
    )


# R6


def test_r6_strangers_are_refused_alike_and_leave_no_trace(server, component, stranger, romeo):
    """R6, L6: a stranger gets the same `forbidden` for an account that exists and one that does not, without a log line it
    could flood."""
    juliet = server.client(JULIET)
    put_every_kind(server, NURSE)
    before = state(server, NURSE)
    for peer in (stranger, romeo, juliet, component):
        peer.sync()
    since = len(server.log())
    somebody = {"from_": "somebody@pubsub.capulet.lit"}
    contents = {
        "get": [QUERY, query(item("c@stranger.lit"))],
        "set": [
            query(item("c@stranger.lit")),
            query(item("both@stranger.lit", subscription="remove")),
            query(),
            query(*(bad for bad, _ in BAD_ITEMS.values())),
        ],
    }
    asked = 0
    for who, peer, more in (
        ("component", stranger, {}),
        ("user of a component", stranger, {"from_": "somebody@stranger.lit"}),
        ("user of the entity", component, somebody),
        ("client of another host", romeo, {}),
        ("client of the host", juliet, {}),
    ):
        for type_, queries in contents.items():
            for content in queries:
                answers = []
                # Names of the same length, one after the other.
                for account in (NURSE, "ghost@capulet.lit"):
                    id_ = peer.send_iq(type_, account, content, **more)
                    came = [s for s in peer.drain() if s.get("id") == id_ and s.get("type") != type_]
                    assert len(came) == 1, who
                    assert came[0].get("from") == account
                    assert error_of(came[0])[:2] == FORBIDDEN, f"{who}: {text_of(came[0])}"
                    answers.append(text_of(came[0]).replace("ghost@", "nurse@").replace(id_, "id"))
                    asked += 1
                assert answers[0] == answers[1], who
    assert asked == 5 * 6 * 2
    assert state(server, NURSE) == before
    for level in ("info", "warn", "error"):
        assert server.log_lines(level, since=since) == []


def test_r6_a_resource_of_the_entity_is_a_stranger(server, component):
    """R6: the entity is its own domain exactly; another address of the component has no privilege."""
    put_every_kind(server, NURSE)
    for sender in ("pubsub.capulet.lit/resource", "somebody@pubsub.capulet.lit/resource"):
        answer = component.iq("get", NURSE, QUERY, from_=sender)
        assert answer.get("type") == "error", sender
        assert error_of(answer)[:2] == FORBIDDEN, sender


def test_r6_a_refusal_costs_nothing(server, stranger, component):
    """R6: for a refusal the module opens no storage and does not ask whether the account exists; other modules may."""
    server.lua(
        """
        prosody.spec_cost = {};
        local function count(what)
            local where = debug.traceback();
            if where:find("mod_privilege", 1, true) or where:find("rostermanager", 1, true) then
                table.insert(prosody.spec_cost, what .. where);
            end
        end
        hook("capulet.lit", "store-opened", function (event) count("opened " .. event.store_name); end, 100);
        local users = hosts["capulet.lit"].users;
        prosody.spec_user_exists = users.user_exists;
        users.user_exists = function (...)
            count("user_exists");
            return prosody.spec_user_exists(...);
        end
        """
    )
    cost = "return #prosody.spec_cost, prosody.spec_cost"
    try:
        forget_rosters(server)
        for account in (NURSE, "ghost@capulet.lit"):
            assert error_of(stranger.iq("get", account, QUERY))[:2] == FORBIDDEN
            assert error_of(stranger.iq("set", account, query(item("c@stranger.lit"))))[:2] == FORBIDDEN
        assert server.lua(cost)[0] == 0, server.lua(cost)[1]
        # The counter sees the entity's own request.
        assert get_roster(component, NURSE) == {}
        assert server.lua(cost)[0] > 0
    finally:
        server.lua("hosts['capulet.lit'].users.user_exists = prosody.spec_user_exists")


def test_r6_an_entity_is_a_stranger_on_other_hosts(server, component):
    """R6: a grant of one host gives no permission on another host."""
    server.put_roster_item(ROMEO, JULIET, subscription="both")
    for account in (ROMEO, "ghost@montague.lit"):
        assert error_of(component.iq("get", account, QUERY))[:2] == FORBIDDEN
        assert error_of(set_roster(component, account, item("c@stranger.lit")))[:2] == FORBIDDEN
    assert list(server.roster(ROMEO)) == [JULIET]


def test_r6_answers_are_not_answered(server, component, stranger):
    """R6: a result or an error with a roster in it is not a request, whoever sends it."""
    for peer in (component, stranger):
        for type_ in ("result", "error"):
            peer.send_iq(type_, NURSE, query(item("c@stranger.lit")), id="unasked")
        peer.sync()
        assert [text_of(s) for s in peer.inbox if s.get("id") == "unasked"] == []
    assert server.roster(NURSE) == {}


def test_r6_ones_own_roster_stays_ones_own(server):
    """R6: the module does not handle an account's requests for its own roster."""
    juliet = server.client(JULIET)
    for to in (None, JULIET):
        assert juliet.iq("set", to, query(item("c@stranger.lit", name=str(to)))).get("type") == "result"
        assert get_roster(juliet, to)["c@stranger.lit"]["name"] == str(to)


# R8


def test_r8_pending_requests_and_metadata_stay_private(server, component, stranger, romeo):
    """R8: a pending request and the version row are not items and never reach an entity."""
    for sender, contact in ((stranger, "x@stranger.lit"), (romeo, None)):
        more = {"from_": contact} if contact else {}
        sender.send_presence("subscribe", NURSE, **more)
        sender.sync()
    pending = server.lua("local r = rostermanager.load_roster('nurse', 'capulet.lit'); return r[false].pending")
    assert set(pending) == {"x@stranger.lit", ROMEO}
    assert get_roster(component, NURSE) == {}
    must_set(component, NURSE, item("c@stranger.lit"))
    assert list(get_roster(component, NURSE)) == ["c@stranger.lit"]
    # A request is not an item that could be removed either, and it still waits.
    assert error_of(set_roster(component, NURSE, item(ROMEO, subscription="remove")))[:2] == ("cancel", "item-not-found")
    forget_rosters(server)
    assert list(get_roster(component, NURSE)) == ["c@stranger.lit"]
    pending = server.lua("local r = rostermanager.load_roster('nurse', 'capulet.lit'); return r[false].pending")
    assert set(pending) == {"x@stranger.lit", ROMEO}
    # The account itself sees the requests still.
    nurse = server.client(NURSE)
    assert {s.get("from") for s in nurse.drain() if s.get("type") == "subscribe"} == {"x@stranger.lit", ROMEO}


def test_r8_rows_of_older_servers(server, component):
    """R8: the row "pending", in which older servers kept requests, never reaches an entity."""
    server.lua(
        """
        local store = storagemanager.open("capulet.lit", "roster");
        assert(store:set("nurse", {
            [false] = { version = 7 };
            pending = { ["x@stranger.lit"] = true };
            ["c@stranger.lit"] = { subscription = "both", groups = {} };
        }));
        hosts["capulet.lit"].roster_cache = nil;
        """
    )
    assert get_roster(component, NURSE) == {"c@stranger.lit": {"subscription": "both", "groups": []}}
    must_set(component, NURSE, item("c@stranger.lit", name="C"))
    assert list(get_roster(component, NURSE)) == ["c@stranger.lit"]


def test_r8_contacts_may_be_called_as_the_private_rows(server, component):
    """R8, R9: contacts whose domain is named like a private row are contacts like any other."""
    expected = {
        name: {"name": name.title(), "subscription": "to", "groups": []} for name in ("pending", "false", "true", "nil", "version")
    }
    must_set(component, NURSE, *(item(name, name=name.title(), subscription="to") for name in expected))
    assert get_roster(component, NURSE) == expected
    forget_rosters(server)
    assert get_roster(component, NURSE) == expected
    must_set(component, NURSE, *(item(name, subscription="remove") for name in expected))
    assert get_roster(component, NURSE) == {}


# R9


TEXTS = (
    "Romeo & Juliet <3 > \"quoted\" 'quoted'",
    "&amp; &#38; &lt;b&gt; ]]> <!-- --> <![CDATA[",
    "two\nlines",
    "tab\tand\rreturn\r\nboth",
    "\n",
    " ",
    "  blanks before and after  ",
    "no-break\u00a0space, zero\u200bwidth, \ufeffBOM, line\u2028and paragraph\u2029separators",
    "control \u0085 \u009f",
    "Ромео 羅密歐 ロミオ 로미오 روميو רומאו रोमियो",
    "e\u0301 and \u00e9 are two",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f4\U000e0067\U000e0062\U000e007f \U0001f1ee\U0001f1f9",
    "right\u202eto left\u202c",
    "\ue000 \ufffd \U0010fffd \ud7ff",
    "%s %d %% %n {} $1 \\ \\n \\0 \\u0041",
    "NULL", "nil", "false", "0", "1e3", "-", "jid", "none",
    "long " * 2000,
)


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_r9_names_and_groups_are_read_back_exactly(server, component, online):
    """R9: every text is read back exactly, by the entity that set it, by another, and from the storage after all caches are
    emptied."""
    juliet = log_in(server, JULIET) if online else None
    expected = {
        f"c{number}@stranger.lit": {"name": text, "subscription": "none", "groups": sorted([text, f"{text}{number}"])}
        for number, text in enumerate(TEXTS)
    }
    must_set(component, JULIET, *(item(jid, *entry["groups"], name=entry["name"]) for jid, entry in expected.items()))
    found = get_roster(component, JULIET)
    for jid, entry in expected.items():
        assert found[jid] == entry
    if juliet:
        assert sorted(contact for contact, _ in client_pushes(juliet)) == sorted(expected)
        juliet.close()
    forget_rosters(server)
    reader = server.component("reader.lit")
    assert get_roster(reader, JULIET) == expected

    # A set of what is there already changes nothing: components compare.
    before = state(server, JULIET)
    must_set(component, JULIET, *(item(jid, *entry["groups"], name=entry["name"]) for jid, entry in expected.items()))
    assert state(server, JULIET) == before

    # And the account sees the same, as far as the server's own writer keeps it.
    hers = read_items(server.client(JULIET).roster[0])
    for jid, entry in expected.items():
        if not set("\t\n\r") & set(entry["name"]):
            assert hers[jid] == entry


ADDRESSES = {
    "ROMEO@Montague.LIT": "romeo@montague.lit",
    "Fuß@Bücher.example": "fuss@bücher.example",
    "\uff2auliet@stranger.lit": "juliet@stranger.lit",
    "Ромео@Верона.example": "ромео@верона.example",
    "羅密歐@stranger.lit": "羅密歐@stranger.lit",
    "user%old@stranger.lit": "user%old@stranger.lit",
    "d\\27artagnan@stranger.lit": "d\\27artagnan@stranger.lit",
    "a.b+c=d_e~f!g#h$i*j(k)l[m]n{o}p|q^r`s,t;u?v@stranger.lit": "a.b+c=d_e~f!g#h$i*j(k)l[m]n{o}p|q^r`s,t;u?v@stranger.lit",
    "+15551234567@stranger.lit": "+15551234567@stranger.lit",
    "STRANGER.lit": "stranger.lit",
    "capulet.lit": "capulet.lit",
}


def test_r9_contacts_are_kept_in_the_servers_spelling(server, component):
    """R9, M5: a contact is stored under its normalised address, and every spelling finds it again."""
    must_set(component, NURSE, *(item(written, name=written) for written in ADDRESSES))
    found = get_roster(component, NURSE)
    assert {jid: entry["name"] for jid, entry in found.items()} == {kept: written for written, kept in ADDRESSES.items()}
    assert set(server.roster(NURSE)) == set(ADDRESSES.values())
    prepped = server.lua("local t = {}; for i, j in ipairs(list) do t[i] = jid.prep(j); end return t", list=list(ADDRESSES))
    assert prepped == list(ADDRESSES.values())
    must_set(component, NURSE, *(item(written, subscription="remove") for written in ADDRESSES))
    assert get_roster(component, NURSE) == {}


@pytest.mark.parametrize("storage", ("memory", "sql"))
def test_r9_with_other_storage(start_server, storage):
    """R9, L5: items are set, changed, removed and read back with other storage drivers too."""
    server = start_server(storage=storage)
    component, stranger = server.component("pubsub.capulet.lit"), server.component("stranger.lit")
    juliet = server.client(JULIET)
    for account in (JULIET, NURSE):
        expected = put_every_kind(server, account)
        assert get_roster(component, account) == expected
        must_set(
            component,
            account,
            item("new@stranger.lit", *TEXTS[:4], name=TEXTS[2], subscription="both"),
            item("to@stranger.lit", name=""),
            item("from@stranger.lit", subscription="remove"),
        )
        expected["new@stranger.lit"] = {"name": TEXTS[2], "subscription": "both", "groups": sorted(TEXTS[:4])}
        expected["to@stranger.lit"] = {"subscription": "to", "groups": []}
        del expected["from@stranger.lit"]
        forget_rosters(server)
        assert get_roster(component, account) == expected
        assert set(server.roster(account)) == set(expected)
        assert presences(stranger) == [("unsubscribed", account, "from@stranger.lit")]
        before = state(server, account)
        answer = set_roster(component, account, item("a@stranger.lit"), item("b@stranger.lit", subscription="remove"))
        assert error_of(answer)[:2] == ("cancel", "item-not-found")
        server.lua("break_store('capulet.lit', 'roster')")
        assert error_of(set_roster(component, account, item("a@stranger.lit")))[:2] == FAILED
        server.lua("mend_stores()")
        assert state(server, account) == before
    assert len(client_pushes(juliet)) == 3


# L6: depth


def nested(name: str, depth: int, core: str = "") -> str:
    return f"<{name}>" * depth + core + f"</{name}>" * depth


@pytest.mark.parametrize("who", ("component", "stranger"))
def test_r4_l6_seventy_thousand_nested_elements(request, server, who):
    """R4, L6: 70,000 nested elements, wherever they stand, get one answer, and the server goes on."""
    peer = request.getfixturevalue(who)
    put_every_kind(server, NURSE)
    before = state(server, NURSE)
    # The depth that fits into one stanza of a component. The server's own parser takes half a second for each.
    deepest, deep = nested("a", 70_000), nested("a", 20_000)
    contents = {
        "in an item": query(f"<item jid='c@stranger.lit'>{deepest}</item>"),
        "in place of the query": deepest,
        "in a group": query(f"<item jid='c@stranger.lit'><group>{deep}</group></item>"),
        "in place of the item": query(deep),
        "beside the query": QUERY + deep,
        "queries": query(nested("query", 20_000)),
        "items": query(nested("item", 20_000)),
    }
    for name, content in contents.items():
        id_ = peer.send_iq("set", NURSE, content)
        peer.sync()
        replies = [s for s in peer.inbox if local(s) == "iq" and s.get("id") == id_]
        assert [reply.get("type") for reply in replies] == ["error"], name
        # Without a roster query at the right place the module does not handle it, and the server's answer may be any.
        if name not in ("in place of the query", "beside the query"):
            expected = ("modify", "bad-request") if who == "component" else FORBIDDEN
            assert error_of(replies[0])[:2] == expected, f"{name}: {text_of(replies[0])}"
    # The content of a get is not looked at.
    answer = peer.iq("get", NURSE, query(deep))
    assert answer.get("type") == ("result" if who == "component" else "error")
    assert state(server, NURSE) == before
    assert server.lua("return true")


def test_l6_depth_from_a_client(server):
    """L6: that holds for an account's client, as deep as its stream may go."""
    juliet = server.client(JULIET)
    deep = nested("a", 30_000)
    for content in (query(f"<item jid='c@stranger.lit'>{deep}</item>"), query(deep), deep):
        answer = juliet.iq("set", NURSE, content)
        assert answer.get("type") == "error"
    juliet.sync()
    assert server.roster(NURSE) == {}
