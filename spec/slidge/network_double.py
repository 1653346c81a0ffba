"""A network that is not there, for slidge: its one user does what the test's user writes to the contact "control".

Run by slidge itself: python -m slidge --legacy-module network_double ... Works with slidge 0.4 and 0.5.
"""

from __future__ import annotations

from pathlib import Path

import slidge
from slidge import BaseGateway, BaseSession, FormField, LegacyBookmarks, LegacyContact, LegacyMUC, LegacyParticipant, LegacyRoster, MucType

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
        try:
            said = await self.session.obey(text)
        except Exception as problem:  # noqa: BLE001: the test reads it
            said = f"failed: {problem!r}"
        control = await self.session.contacts.by_legacy_id(CONTROL)
        control.send_text(f"{text}: {said}")
        return None

    async def update_info(self):
        self.name = self.legacy_id.capitalize()
        self.is_friend = True
        self.online()


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


class Session(BaseSession[Roster, Bookmarks] if IS_NEW else BaseSession):
    async def login(self):
        return "Logged in"

    async def logout(self):
        return None

    async def obey(self, text: str) -> str:
        word, _, rest = text.partition(" ")
        friend = await self.contacts.by_legacy_id(FRIEND)
        if word == "carbon":
            friend.send_text(rest, legacy_msg_id="carbon-1", carbon=True)
        elif word == "read":
            friend.displayed("carbon-1", carbon=True)
        elif word == "add":
            contact = await self.contacts.by_legacy_id(rest)
            await contact.add_to_roster(force=True)
        elif word == "bookmark":
            muc = await self.bookmarks.by_legacy_id(GROUP)
            await muc.add_to_bookmarks(auto_join=True)
        elif word == "mark":
            muc = await self.bookmarks.by_legacy_id(GROUP)
            user = await muc.get_user_participant()
            user.send_text("said in the group", legacy_msg_id="group-1")
            user.displayed("group-1")
        elif word == "upload":
            path = Path(rest)
            path.write_text("a file")
            _, messages = await friend.send_file(path)
            return messages[0]["oob"]["url"] or messages[0]["body"]
        else:
            return "unknown"
        return "done"


class Gateway(BaseGateway[Session] if IS_NEW else BaseGateway):
    COMPONENT_NAME = "A network double"
    COMPONENT_TYPE = "other"
    REGISTRATION_FIELDS = [FormField(var="username", label="User name", required=True)]
    GROUPS = True

    async def validate(self, user_jid, registration_form):
        return None
