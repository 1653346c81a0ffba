"""A network that is not there, for slidge: it does what the test's user writes to the contact "control".

Run by slidge itself: python -m slidge --legacy-module network_double ... Works with slidge 0.4 and 0.5.

A request is "<number> <word> <rest>", and the contact "control" answers "<number>: <how it went>".
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import slidge
from slidge import BaseGateway, BaseSession, FormField, LegacyBookmarks, LegacyContact, LegacyMUC, LegacyParticipant, LegacyRoster, MucType
from slixmpp import Iq, Message
from slixmpp.exceptions import IqError

CONTROL, FRIEND, GROUP = "control", "tybalt", "group"

#: Since 0.5 each class is told its parts by its type parameters.
IS_NEW = tuple(map(int, slidge.__version__.split(".")[:2])) >= (0, 5)


class Contact(LegacyContact):
    async def available_emojis(self, legacy_msg_id=None):
        return None

    async def create_thread(self, xmpp_id):
        return xmpp_id

    async def on_sticker(self, sticker):
        return None

    async def on_message(self, message):
        """Does what the user asks for, and answers how it went."""
        text = getattr(message, "body", None) or getattr(message, "text", None) or ""
        number, _, request = text.partition(" ")
        try:
            said = await self.session.obey(request)
        except Exception as problem:  # noqa: BLE001: the test reads it
            said = f"failed: {problem!r}"
        await self.session.tell(f"{number}: {said}")
        return None

    async def update_info(self):
        # Nothing is sent from here: slidge looks the contact up for each presence, and would wait for itself.
        self.name = self.legacy_id.capitalize()
        self.is_friend = True


class Roster(LegacyRoster[Contact] if IS_NEW else LegacyRoster):
    async def fill(self):
        for legacy_id in (CONTROL, FRIEND):
            yield await self.by_legacy_id(legacy_id)


class Participant(LegacyParticipant):
    pass


class Muc(LegacyMUC[Participant] if IS_NEW else LegacyMUC):
    type = MucType.CHANNEL

    async def available_emojis(self, legacy_msg_id=None):
        return None

    async def create_thread(self, xmpp_id):
        return xmpp_id

    async def on_message(self, message):
        return None

    async def on_sticker(self, sticker):
        return None

    async def on_displayed(self, legacy_msg_id, thread):
        await self.session.tell(f"the user has read {legacy_msg_id}")

    async def update_info(self):
        self.name = "A group"
        self.user_nick = "juliet"

    async def fill_participants(self):
        yield await self.get_participant("nurse")

    async def backfill(self, after=None, before=None):
        return None


class Bookmarks(LegacyBookmarks[Muc] if IS_NEW else LegacyBookmarks):
    async def fill(self):
        await self.by_legacy_id(GROUP)


def condition_of(error: ET.Element) -> str:
    """Condition and text of the error in a stanza, as they stand there."""
    parts = [child for child in error.find("{*}error") if not child.tag.startswith("{urn:xmpp:privilege")]
    conditions = [child.tag.rpartition("}")[2] for child in parts if child.tag.rpartition("}")[2] != "text"]
    texts = [child.text or "" for child in parts if child.tag.rpartition("}")[2] == "text"]
    return f"refused: {' '.join(conditions + texts)}"


class Session(BaseSession[Roster, Bookmarks] if IS_NEW else BaseSession):
    async def login(self):
        return "Logged in"

    async def logout(self):
        return None

    async def tell(self, text: str):
        """Has the contact "control" write to the user."""
        control = await self.contacts.by_legacy_id(CONTROL)
        control.send_text(text)

    async def obey(self, request: str) -> str:
        word, _, rest = request.partition(" ")
        return await getattr(self, f"do_{word}")(rest) or "done"

    # By the ways that slidge offers to the module of a network

    async def do_nothing(self, _):
        return None

    async def do_carbon(self, text):
        friend = await self.contacts.by_legacy_id(FRIEND)
        friend.send_text(text, legacy_msg_id="carbon-1", carbon=True)

    async def do_read(self, _):
        friend = await self.contacts.by_legacy_id(FRIEND)
        friend.displayed("carbon-1", carbon=True)

    async def do_react(self, emoji):
        friend = await self.contacts.by_legacy_id(FRIEND)
        friend.react("carbon-1", [emoji], carbon=True)

    async def do_correct(self, text):
        friend = await self.contacts.by_legacy_id(FRIEND)
        friend.correct("carbon-1", text, carbon=True)

    async def do_retract(self, _):
        friend = await self.contacts.by_legacy_id(FRIEND)
        friend.retract("carbon-1", carbon=True)

    async def do_add(self, legacy_id):
        contact = await self.contacts.by_legacy_id(legacy_id)
        await contact.add_to_roster(force=True)

    async def do_bookmark(self, pin):
        muc = await self.bookmarks.by_legacy_id(GROUP)
        await muc.add_to_bookmarks(auto_join=True, pin=bool(pin))

    async def do_unbookmark(self, _):
        muc = await self.bookmarks.by_legacy_id(GROUP)
        await muc.remove_from_bookmarks()

    async def do_mark(self, _):
        muc = await self.bookmarks.by_legacy_id(GROUP)
        user = await muc.get_user_participant()
        user.send_text("said in the group", legacy_msg_id="group-1")
        user.displayed("group-1")

    async def do_upload(self, name):
        path = Path(name)
        path.write_text("a file")
        friend = await self.contacts.by_legacy_id(FRIEND)
        _, messages = await friend.send_file(path)
        return messages[0]["oob"]["url"] or messages[0]["body"]

    # By slidge's connection alone: things that slidge has no use for

    async def do_roster(self, _):
        """Returns the addresses in the user's roster."""
        answer = await self.xmpp["xep_0356"].get_roster(self.user_jid.bare)
        return " ".join(sorted(str(jid) for jid in answer["roster"]["items"]))

    async def do_contact(self, rest):
        """Sets a contact: "<jid> <subscription>"."""
        jid, subscription = rest.split()
        try:
            await self.xmpp["xep_0356"].set_roster(self.user_jid.bare, {jid: {"subscription": subscription, "name": "Set by slidge"}})
        except IqError as error:
            return condition_of(error.iq.xml)

    async def do_iq(self, rest):
        """Sends an IQ as the user: "<type> <to> <payload>"."""
        type_, to, payload = rest.split(" ", 2)
        iq = Iq(stype=type_, sfrom=self.user_jid.bare, sto=to)
        # slixmpp judges the payloads that it knows by itself. Added like this, it knows none.
        iq.xml.append(ET.fromstring(payload))
        try:
            await self.xmpp["xep_0356"].send_privileged_iq(iq)
        except IqError as error:
            return condition_of(error.iq.xml)

    async def do_message(self, rest):
        """Sends a message: "<from> <to> <payload>"."""
        from_, to, payload = rest.split(" ", 2)
        message = Message(stype="chat", sfrom=from_, sto=to)
        message.xml.append(ET.fromstring(payload))
        errors = []
        self.xmpp.add_event_handler("message_error", errors.append)
        try:
            self.xmpp["xep_0356"].send_privileged_message(message)
            # The server answers in order: after this, an error would be here.
            await self.xmpp["xep_0199"].send_ping(self.user_jid.domain, ifrom=self.xmpp.boundjid)
        finally:
            self.xmpp.del_event_handler("message_error", errors.append)
        if errors:
            return condition_of(errors[0].xml)


class Gateway(BaseGateway[Session] if IS_NEW else BaseGateway):
    COMPONENT_NAME = "A network double"
    COMPONENT_TYPE = "other"
    REGISTRATION_FIELDS = [FormField(var="username", label="User name", required=True)]
    GROUPS = True

    async def validate(self, user_jid, registration_form):
        return None
