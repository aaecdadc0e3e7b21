"""Answers questions about envelopes and identifiers with another implementation, one JSON object a line.

ACA-Py packs and unpacks with PyNaCl (acapy_agent.wallet.crypto) and with Askar (acapy_agent.askar.didcomm.v1);
did_peer_2, did_peer_4 and acapy_agent.did.did_key resolve.
"""

import asyncio
import base64
import json
import sys

from acapy_agent.askar.didcomm import v1 as askar
from acapy_agent.did.did_key import DIDKey
from acapy_agent.messaging.decorators.attach_decorator import AttachDecorator
from acapy_agent.protocols.basicmessage.v1_0.messages.basicmessage import BasicMessage
from acapy_agent.protocols.didexchange.v1_0.messages.complete import DIDXComplete
from acapy_agent.protocols.didexchange.v1_0.messages.problem_report import DIDXProblemReport
from acapy_agent.protocols.didexchange.v1_0.messages.request import DIDXRequest
from acapy_agent.protocols.didexchange.v1_0.messages.response import DIDXResponse
from acapy_agent.protocols.issue_credential.v2_0.messages.cred_ack import V20CredAck
from acapy_agent.protocols.issue_credential.v2_0.messages.cred_issue import V20CredIssue
from acapy_agent.protocols.issue_credential.v2_0.messages.cred_offer import V20CredOffer
from acapy_agent.protocols.issue_credential.v2_0.messages.cred_request import V20CredRequest
from acapy_agent.protocols.out_of_band.v1_0.messages.invitation import InvitationMessage
from acapy_agent.protocols.present_proof.v2_0.messages.pres import V20Pres
from acapy_agent.protocols.present_proof.v2_0.messages.pres_ack import V20PresAck
from acapy_agent.protocols.present_proof.v2_0.messages.pres_request import V20PresRequest
from acapy_agent.protocols.problem_report.v1_0.message import ProblemReport
from acapy_agent.wallet import crypto
from aries_askar import Key, KeyAlg
import did_peer_2
import did_peer_4
import nacl.signing
from acapy_agent.wallet.util import b58_to_bytes, bytes_to_b58


MESSAGES = {
    "out-of-band/1.1/invitation": InvitationMessage,
    "didexchange/1.1/request": DIDXRequest,
    "didexchange/1.1/response": DIDXResponse,
    "didexchange/1.1/complete": DIDXComplete,
    "didexchange/1.1/problem_report": DIDXProblemReport,
    "issue-credential/2.0/offer-credential": V20CredOffer,
    "issue-credential/2.0/request-credential": V20CredRequest,
    "issue-credential/2.0/issue-credential": V20CredIssue,
    "issue-credential/2.0/ack": V20CredAck,
    "present-proof/2.0/request-presentation": V20PresRequest,
    "present-proof/2.0/presentation": V20Pres,
    "present-proof/2.0/ack": V20PresAck,
    "basicmessage/1.0/message": BasicMessage,
    "report-problem/1.0/problem-report": ProblemReport,
}


def secret(seed):
    """The secret key as libsodium keeps it: seed and public key."""
    key = nacl.signing.SigningKey(bytes([seed] * 32))
    return bytes(key) + bytes(key.verify_key)


def askar_key(seed):
    return Key.from_secret_bytes(KeyAlg.ED25519, bytes([seed] * 32))


class Entry:
    def __init__(self, key):
        self.key = key


class Session:
    """What Askar's unpacking asks its store for."""

    def __init__(self, seeds):
        self.keys = {bytes_to_b58(askar_key(s).get_public_bytes()): askar_key(s) for s in seeds}

    async def fetch_key(self, name):
        key = self.keys.get(name)
        return Entry(key) if key else None


def answer(question):
    op = question["op"]
    if op == "pack":
        message = base64.b64decode(question["message"])
        sender = question["sender"]
        if question["with"] == "nacl":
            to = [b58_to_bytes(verkey) for verkey in question["to"]]
            packed = crypto.encode_pack_message(message.decode(), to, secret(sender) if sender else None)
        else:
            packed = askar.pack_message(question["to"], askar_key(sender) if sender else None, message)
        return packed.decode()
    if op == "unpack":
        packed = question["packed"].encode()
        if question["with"] == "nacl":
            keys = {bytes_to_b58(secret(s)[32:]): secret(s) for s in question["seeds"]}
            message, sender, recipient = crypto.decode_pack_message(packed, keys.get)
            message = message.encode() if isinstance(message, str) else message
        else:
            message, recipient, sender = asyncio.run(askar.unpack_message(Session(question["seeds"]), packed))
        return {"message": base64.b64encode(message).decode(), "sender": sender, "recipient": recipient}
    if op == "resolve_peer_2":
        return did_peer_2.resolve(question["did"])
    if op == "peer_4":
        return {"long": did_peer_4.encode(question["document"]), "short": did_peer_4.encode_short(question["document"])}
    if op == "resolve_peer_4":
        return did_peer_4.resolve(question["did"])
    if op == "did_key":
        key = DIDKey.from_did(question["did"])
        return bytes_to_b58(key.public_key)
    if op == "verify":
        class Wallet:
            async def verify_message(self, message, signature, verkey, key_type):
                return crypto.verify_signed_message(message, signature, b58_to_bytes(verkey), key_type)

        attachment = AttachDecorator.deserialize(question["attachment"])
        return asyncio.run(attachment.data.verify(Wallet(), question["signer"]))
    if op == "deserialize":
        # What is left out of a message that was read is not understood there.
        return MESSAGES[question["message"]["@type"].removeprefix("https://didcomm.org/")].deserialize(
            question["message"]
        ).serialize()
    raise ValueError(op)


for line in sys.stdin:
    try:
        reply = {"ok": answer(json.loads(line))}
    except Exception as error:  # The test says which failures it expects.
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
