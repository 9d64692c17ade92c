"""Tokens of jobs: a short word that says for whom a request is sent that no customer sends themselves.

A job (a batch, an async task) calls models through the relay like any client, and so does a request that is made of
several. Its token names who pays, at which class of prices, and the job or request; it is sealed with the master key,
so that every relay can read it and nobody else can make one. It ends with the job's lease: a worker that has lost its
job has no token that is taken. It is good for inference only, and only as long as the key behind it is.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from openmaas.core.bounds import ASK_TIMEOUT_S
from openmaas.core.errors import KeyUnknown, SettingInvalid, TokenExpired
from openmaas.identity.seal import MasterKeys

#: What stands where a key has its id; a key's id is hexadecimal.
PREFIX = "job"
_OWNER = "on behalf"
_decode = msgspec.msgpack.Decoder


class OnBehalf(msgspec.Struct, frozen=True, array_like=True):
    """For whom: ids, the class of prices (``batch``, or empty for the ordinary one), the job or request, until when
    (UTC ms)."""

    organisation_id: str
    project_id: str
    key_id: str
    price_class: str
    job_id: str
    until_ms: int


def mint(master: MasterKeys, who: OnBehalf) -> str:
    """The token, to be sent as ``Authorization: Bearer``."""
    sealed = master.seal(msgspec.msgpack.encode(who), _OWNER)
    return f"{PREFIX}.{sealed.version}.{base64.urlsafe_b64encode(sealed.secret).decode()}"


def mint_inner(master: MasterKeys, ids: tuple[str, str, str], parent_id: str, now_ms: int) -> str:
    """The token of a request for a part of another one. ``ids`` are those of the organisation, the project and the key
    that sent the whole, ``parent_id`` the whole's own: it pays as ever, and as long as an answer may take."""
    until_ms = now_ms + round(ASK_TIMEOUT_S * 1000)
    return mint(master, OnBehalf(*ids, "", parent_id, until_ms))


def read(master: MasterKeys, told: str, now_ms: int) -> OnBehalf:
    """What a token without its prefix says. Raises ``KeyUnknown`` for what is none, ``TokenExpired`` for one that has
    ended or was sealed under a master key that is gone."""
    version, _, text = told.partition(".")
    try:
        sealed = base64.b64decode(text, b"-_", validate=True)
        who = _decode(OnBehalf).decode(master.open(sealed, _OWNER, int(version)))
    except SettingInvalid:
        raise TokenExpired from None
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise KeyUnknown from None
    if who.until_ms <= now_ms:
        raise TokenExpired
    return who
