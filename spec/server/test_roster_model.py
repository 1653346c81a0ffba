"""R2, R7, R10, R11: rosters against a twin that is small enough to be obviously right, under random operations.

Each turn hands the server some stanzas and events in one turn of its event loop: sets of two entities and of the
account's own clients, subscriptions, evictions from the server's cache, reloads, failing saves, deletions. After each
turn memory, storage, what every client has been told and what the entities have been told are the same. Where only
sets were sent, they are also what the twin says. PRIVILEGE_SEEDS=1-500 PRIVILEGE_STEPS=60 runs it long, PRIVILEGE_SEEDS=17 one
seed alone.
"""

from __future__ import annotations

import copy
import os
import random

import pytest

from harness import PASSWORD, Prosody
from watching import in_one_turn, is_push, read_item, seeds
from wire import local, payload, text_of
from words import escaped

HOST = "capulet.lit"
USERS = ("juliet", "nurse", "tybalt")
REMOTE = ("a@stranger.lit", "b@stranger.lit", "c@remote.lit", "stranger.lit")
GRANTS = {
    HOST: {
        # May set every roster.
        "pubsub.capulet.lit": {"roster": "both"},
        # May set one.
        "gateway.capulet.lit": {"roster": "both", "accounts": ["juliet"]},
    }
}
MAY_SET = {"pubsub.capulet.lit": set(USERS), "gateway.capulet.lit": {"juliet"}}
#: Seeds that have found a fault once, and a few more.
SEEDS = (0, 1, 2, 3, 30)
STEPS = int(os.environ.get("PRIVILEGE_STEPS", "30"))


@pytest.fixture(scope="module", params=("internal", "sql"))
def session_server(request):
    accounts = [f"{user}@{HOST}" for user in USERS]
    with Prosody(privileged_entities=GRANTS, accounts=accounts, storage=request.param, log_level="info") as running:
        yield running


class Refused(Exception):
    pass


MIRRORED = {"none": "none", "to": "from", "from": "to", "both": "both"}


def with_part(subscription: str, part: str, wanted: bool) -> str:
    """A subscription with or without `to` or `from`."""
    parts = {p for p in ("to", "from") if subscription in (p, "both")}
    parts = parts | {part} if wanted else parts - {part}
    return "both" if len(parts) == 2 else parts.pop() if parts else "none"


class Twin:
    """The rosters that all accounts must have: {user: {contact: {subscription, ask, name, groups}}}."""

    def __init__(self, rosters):
        self.rosters = copy.deepcopy(rosters)
        #: (user, contact) whose `ask` depends on a pending request, which nobody outside can see.
        self.unsure = set()

    def without_unsure(self, rosters):
        found = copy.deepcopy(rosters)
        for user, contact in self.unsure:
            found[user].get(contact, {}).pop("ask", None)
        return found

    def entity_set(self, entity: str, user: str, items: list[dict]) -> bool:
        """Applies an entity's set; returns whether it is acknowledged."""
        if user not in MAY_SET[entity]:
            return False
        before = copy.deepcopy(self.rosters)
        try:
            for item in items:
                self._entity_item(entity, user, item)
        except Refused:
            self.rosters = before
            return False
        for item in items:
            if item["subscription"] == "remove":
                self._removed(user, item["jid"], before[user][item["jid"]])
        return True

    def _entity_item(self, entity, user, item):
        roster, jid = self.rosters[user], item["jid"]
        if item["subscription"] == "remove":
            if jid not in roster:
                raise Refused
            del roster[jid]
            return
        old = roster.get(jid, {"subscription": "none"})
        new = {**old, "subscription": item["subscription"] or old["subscription"]}
        if item["name"] is not None:
            new["name"] = item["name"]
        new["groups"] = item["groups"]
        if new["subscription"] in ("to", "both"):
            new.pop("ask", None)
            if old["subscription"] in ("none", "from"):
                self._agree(entity, user, jid, new["subscription"])
        roster[jid] = without_empty(new)

    def _agree(self, entity, user, jid, wanted):
        contact, _, host = jid.partition("@")
        if host != HOST:
            return
        theirs, account = self.rosters[contact], f"{user}@{HOST}"
        old = theirs.get(account, {"subscription": "none"})
        if contact in MAY_SET[entity]:
            new = {**old, "subscription": MIRRORED[wanted]}
            if wanted == "both":
                new.pop("ask", None)
            theirs[account] = without_empty(new)
        elif old["subscription"] not in ("from", "both"):
            raise Refused

    def own_set(self, user: str, item: dict) -> bool:
        roster, jid = self.rosters[user], item["jid"]
        if item["subscription"] == "remove":
            if jid not in roster:
                return False
            self._removed(user, jid, roster.pop(jid))
            return True
        old = roster.get(jid, {"subscription": "none"})
        new = {k: v for k, v in old.items() if k in ("subscription", "ask")}
        roster[jid] = without_empty({**new, "name": item["name"], "groups": item["groups"]})
        return True

    def _removed(self, user, jid, old):
        """A contact of this server is told, and its roster says so."""
        contact, _, host = jid.partition("@")
        if host != HOST:
            return
        theirs = self.rosters[contact].get(f"{user}@{HOST}")
        if theirs is None:
            return
        if theirs.get("ask"):
            self.unsure.add((contact, f"{user}@{HOST}"))
        if old["subscription"] in ("both", "from"):
            theirs["subscription"] = with_part(theirs["subscription"], "to", False)
            theirs.pop("ask", None)
        if old["subscription"] in ("both", "to") or old.get("ask"):
            theirs["subscription"] = with_part(theirs["subscription"], "from", False)


def without_empty(item: dict) -> dict:
    return {k: v for k, v in item.items() if v not in (None, "", [])}


STATE = """
local found = {};
for _, user in ipairs(users) do
    local stored = storagemanager.open(h, "roster"):get(user) or {};
    found[user] = { held = rostermanager.load_roster(user, h), stored = stored };
end
return found;
"""


def visible(rows) -> dict:
    found = {}
    for contact, row in (rows or {}).items():
        if contact not in ("false", "pending") and row:
            item = {k: row.get(k) for k in ("subscription", "ask", "name")}
            found[contact] = without_empty({**item, "groups": sorted(row.get("groups") or ())})
    return found


class Play:
    """One seed: connections, what each has been told, and the turns."""

    def __init__(self, server, seed: int):
        self.server, self.random = server, random.Random(seed)
        self.entities = {domain: server.component(domain) for domain in MAY_SET}
        self.clients, self.views, self.log = {}, {}, []
        self.number = 0
        for entity in self.entities:
            self.look(entity)

    # What each client and entity has been told

    def look(self, entity):
        peer = self.entities[entity]
        peer.drain()
        for user in MAY_SET[entity]:
            self.views[entity, user] = read(peer.iq("get", f"{user}@{HOST}", "<query xmlns='jabber:iq:roster'/>"))

    def log_in(self, user):
        client = self.server.client(f"{user}@{HOST}")
        self.clients[user] = client
        self.views[user] = read_approved(client.roster)
        self.versions = {}

    def listen(self):
        answers = {}
        for user, client in list(self.clients.items()):
            version = 0
            for stanza in client.drain():
                if is_push(stanza):
                    now, before = int(stanza[0].get("ver")), dict(self.views[user])
                    # The server itself pushes the removal of a contact that was never there, when a request is withdrawn.
                    if "remove" == stanza[0][0].get("subscription"):
                        self.views[user].setdefault(stanza[0][0].get("jid"), {})
                    apply(self.views[user], stanza)
                    # The server itself pushes an item again where an `unsubscribe` changes nothing.
                    is_new = now > version or now == version and self.views[user] == before
                    assert is_new, f"version {now} after {version}\n" + self.story()
                    version = now
                elif local(stanza) == "iq" and stanza.get("type") in ("result", "error"):
                    answers[stanza.get("id")] = stanza.get("type") == "result"
        for entity, peer in self.entities.items():
            for stanza in peer.drain():
                if is_push(stanza):
                    user = stanza.get("from").partition("@")[0]
                    assert user in MAY_SET[entity], text_of(stanza)
                    apply(self.views[entity, user], stanza)
                elif local(stanza) == "iq" and stanza.get("type") in ("result", "error"):
                    assert stanza.get("id") not in answers, "answered twice"
                    answers[stanza.get("id")] = stanza.get("type") == "result"
        return answers

    def states(self) -> dict:
        return self.server.lua(STATE, h=HOST, users=list(USERS))

    def compare(self):
        """Memory, storage, clients and entities agree; returns the rosters."""
        answers = self.listen()
        rosters = {}
        for user, state in self.states().items():
            rosters[user] = visible(state["held"])
            assert visible(state["stored"]) == rosters[user], f"{user}: storage\n" + self.story()
            if user in self.clients:
                assert self.views[user] == rosters[user], f"{user}: told to its client\n" + self.story()
            for entity, users in MAY_SET.items():
                if user in users:
                    assert self.views[entity, user] == rosters[user], f"{user}: told to {entity}\n" + self.story()
        return rosters, answers

    def story(self) -> str:
        return "\n".join(self.log[-12:])

    # Turns

    def item(self, own: bool) -> dict:
        choose = self.random.choice
        return {
            "jid": choose(REMOTE + tuple(f"{user}@{HOST}" for user in USERS)),
            "subscription": choose((None, None, "remove") if own else (None, "none", "to", "from", "both", "both", "remove")),
            "name": choose((None, "", "X", "Y & <Z>")),
            "groups": sorted(self.random.sample(("G", "H", "I"), self.random.randrange(3))),
        }

    def stanza(self, to: str | None, items: list[dict]) -> tuple[str, str]:
        self.number += 1
        id_ = f"s{self.number}"
        content = ""
        for found in items:
            head = "".join(f" {k}='{escaped(found[k])}'" for k in ("jid", "subscription", "name") if found[k] is not None)
            content += f"<item{head}>" + "".join(f"<group>{g}</group>" for g in found["groups"]) + "</item>"
        address = f" to='{to}'" if to else ""
        return id_, f"<iq type='set' id='{id_}'{address}><query xmlns='jabber:iq:roster'>{content}</query></iq>"

    def entity_set(self, twin: Twin):
        entity = self.random.choice(sorted(self.entities))
        user = self.random.choice(USERS)
        items = {}
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            found = self.item(own=False)
            if found["jid"] != f"{user}@{HOST}":
                items[found["jid"]] = found
        if not items:
            return None
        id_, text = self.stanza(f"{user}@{HOST}", list(items.values()))
        return (entity, text), id_, twin.entity_set(entity, user, list(items.values()))

    def own_set(self, twin: Twin):
        if not self.clients:
            return None
        user = self.random.choice(sorted(self.clients))
        found = self.item(own=True)
        if found["jid"] == f"{user}@{HOST}":
            return None
        id_, text = self.stanza(None, [found])
        return (self.clients[user].jid, text), id_, twin.own_set(user, found)

    def subscription(self):
        if not self.clients:
            return None
        user = self.random.choice(sorted(self.clients))
        type_ = self.random.choice(("subscribe", "unsubscribe", "subscribed", "unsubscribed"))
        to = self.random.choice(REMOTE + tuple(f"{other}@{HOST}" for other in USERS if other != user))
        return self.clients[user].jid, f"<presence type='{type_}' to='{to}'/>"

    EVENTS = (
        "hosts['capulet.lit'].roster_cache = nil",
        "hosts['capulet.lit'].roster_cache = require 'util.cache'.new(1)",
        "assert(modulemanager.reload('capulet.lit', 'privilege'))",
        "assert(prosody.reload_config())",
    )

    def turn(self, rosters) -> None:
        kind = self.random.choices(("sets", "mixed", "failing", "deletion", "log in", "log out", "kick"), (12, 5, 2, 1, 2, 2, 1))[0]
        twin, stanzas, expected = Twin(rosters), [], {}
        if kind == "log in":
            offline = [user for user in USERS if user not in self.clients]
            if offline:
                self.log_in(self.random.choice(offline))
        elif kind == "log out" and self.clients:
            self.clients.pop(self.random.choice(sorted(self.clients))).close()
        elif kind == "kick":
            domain = self.random.choice(sorted(self.entities))
            self.entities[domain].close()
            self.entities[domain] = self.server.component(domain)
            self.look(domain)
        elif kind in ("sets", "mixed", "failing", "deletion"):
            for _ in range(self.random.choice((1, 2, 3, 5, 8))):
                choice = self.random.random()
                if kind == "mixed" and choice < 0.3:
                    made = self.subscription()
                    made = made and (made, None, None)
                elif choice < 0.45 and kind != "failing" and kind != "deletion":
                    made = self.own_set(twin)
                else:
                    made = self.entity_set(twin)
                if made:
                    stanza, id_, acknowledged = made
                    stanzas.append(stanza)
                    if id_:
                        expected[id_] = acknowledged
                if kind != "failing" and self.random.random() < 0.3:
                    stanzas.append(("", "lua: " + self.random.choice(self.EVENTS)))
        gone = None
        if kind == "failing":
            self.server.lua("break_store('capulet.lit', 'roster')")
        elif kind == "deletion":
            gone = self.random.choice(USERS)
            if gone in self.clients:
                self.clients.pop(gone).close()
            stanzas.append(("", f"lua: assert(usermanager.delete_user('{gone}', 'capulet.lit'))"))
        self.log.append(f"{kind}: " + " | ".join(f"{jid} {text}" for jid, text in stanzas))
        in_one_turn(self.server, *stanzas)
        if kind == "failing":
            self.entities["pubsub.capulet.lit"].sync() # the sets have been dealt with
            self.server.lua("mend_stores()")
        if kind == "deletion":
            self.listen()
            assert not self.states()[gone]["stored"], "a roster of an account that is gone\n" + self.story()
            self.server.lua("hosts[h].roster_cache = nil; create_user(user, h, password)", h=HOST, user=gone, password=PASSWORD)
        after, answers = self.compare()
        if kind == "failing":
            assert after == rosters, "changed though nothing could be saved\n" + self.story()
            assert not any(answers.get(id_) for id_, _ in expected.items() if self.changes(id_, expected)), self.story()
        if kind == "deletion":
            assert after[gone] == {}
        if kind == "sets":
            assert {i: answers.get(i) for i in expected} == expected, self.story()
            real, wanted = twin.without_unsure(after), twin.without_unsure(twin.rosters)
            different = {u: {c: (real[u].get(c), wanted[u].get(c)) for c in {*real[u], *wanted[u]}
                             if real[u].get(c) != wanted[u].get(c)} for u in USERS}
            assert real == wanted, f"(is, should be): {different}\n" + self.story()
        if kind not in ("deletion",):
            assert set(expected) <= set(answers), "not answered\n" + self.story()

    @staticmethod
    def changes(id_, expected):
        return not expected[id_]


def read_approved(answer) -> dict:
    return read(answer)


def read(answer) -> dict:
    assert answer.get("type") == "result", text_of(answer)
    found = {}
    for element in payload(answer):
        jid, item = read_item(element)
        item.pop("approved", None)
        found[jid] = without_empty(item)
    return found


def apply(view: dict, push) -> None:
    jid, item = read_item(push[0][0])
    item.pop("approved", None)
    if item.get("subscription") == "remove":
        # An item that is pushed although it was not there would be pushed twice.
        del view[jid]
    else:
        view[jid] = without_empty(item)


@pytest.mark.parametrize("seed", seeds(*SEEDS))
def test_r11_rosters_and_their_twin(server, seed):
    """R11: after each random turn memory, storage, clients and entities agree, and with the twin where only sets were sent."""
    play = Play(server, seed)
    for user in USERS:
        if play.random.random() < 0.5:
            play.log_in(user)
    rosters, _ = play.compare()
    for _ in range(STEPS):
        play.turn(rosters)
        rosters, _ = play.compare()
