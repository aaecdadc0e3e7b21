"""Issues, presents and verifies SD-JWTs with the specification authors' own implementation.

One JSON command for each line of standard input, one JSON answer for each: {"ok": ..} or {"error": ..}.
"""

import json
import sys

from jwcrypto.jwk import JWK
from sd_jwt.common import SDObj
from sd_jwt.holder import SDJWTHolder
from sd_jwt.issuer import SDJWTIssuer
from sd_jwt.verifier import SDJWTVerifier


def key(jwk):
    return JWK.from_json(json.dumps(jwk))


def issue(command):
    """Hides every claim of the object `hidden`, those of its objects and the elements of its arrays."""

    def hide(value):
        if isinstance(value, dict):
            return {SDObj(name): hide(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [SDObj(hide(inner)) for inner in value]
        return value

    claims = dict(command["open"])
    claims.update(hide(command["hidden"]))
    issued = SDJWTIssuer(
        claims,
        key(command["issuer"]),
        key(command["holder"]),
        add_decoy_claims=True,
        extra_header_parameters={"typ": "dc+sd-jwt"},
    )
    return issued.sd_jwt_issuance


def present(command):
    holder = SDJWTHolder(command["sd_jwt"])
    holder.create_presentation(command["disclose"], command["nonce"], command["aud"], key(command["holder"]))
    return holder.sd_jwt_presentation


def verify(command):
    verifier = SDJWTVerifier(
        command["presentation"],
        lambda issuer, header: key(command["issuer"]),
        command["aud"],
        command["nonce"],
    )
    return verifier.get_verified_payload()


for line in sys.stdin:
    try:
        command = json.loads(line)
        answer = {"ok": {"issue": issue, "present": present, "verify": verify}[command["op"]](command)}
    except Exception as error:  # Whatever it refuses is an answer.
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
