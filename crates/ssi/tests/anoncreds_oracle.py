"""The reference implementation (PyPI anoncreds) behind one JSON object per line: {"op", ...} -> {"ok"} or {"error"}."""

import json
import sys

import anoncreds as a


def load(kind, value):
    return kind.load(value if isinstance(value, str) else json.dumps(value))


def loads(kind, values):
    return {key: load(kind, value) for key, value in (values or {}).items()}


def out(obj):
    return json.loads(obj.to_json())


def encode(c):
    return a.encode_credential_attributes(c["values"])


def echo(c):
    return out(load(getattr(a, c["kind"]), c["value"]))


def new_issuer(c):
    schema = a.Schema.create(c["name"], "1.0", c["issuer"], c["attributes"])
    definition, private, proof = a.CredentialDefinition.create(
        c["schema_id"], schema, c["issuer"], "1", "CL", support_revocation=c["revocable"]
    )
    return {
        "schema": out(schema),
        "definition": out(definition),
        "private": out(private),
        "key_correctness": out(proof),
    }


def new_registry(c):
    definition, private = a.RevocationRegistryDefinition.create(
        c["cred_def_id"],
        load(a.CredentialDefinition, c["definition"]),
        c["issuer"],
        "0",
        "CL_ACCUM",
        c["size"],
        tails_dir_path=c["directory"],
    )
    return {"registry": out(definition), "private": out(private)}


def first_list(c):
    return out(
        a.RevocationStatusList.create(
            load(a.CredentialDefinition, c["definition"]),
            c["registry_id"],
            load(a.RevocationRegistryDefinition, c["registry"]),
            load(a.RevocationRegistryDefinitionPrivate, c["private"]),
            c["issuer"],
            True,
            c["timestamp"],
        )
    )


def next_list(c):
    return out(
        load(a.RevocationStatusList, c["list"]).update(
            load(a.CredentialDefinition, c["definition"]),
            load(a.RevocationRegistryDefinition, c["registry"]),
            load(a.RevocationRegistryDefinitionPrivate, c["private"]),
            c["issued"] or None,
            c["revoked"] or None,
            c["timestamp"],
        )
    )


def offer(c):
    return out(a.CredentialOffer.create(c["schema_id"], c["cred_def_id"], load(a.KeyCorrectnessProof, c["proof"])))


def request(c):
    made, metadata = a.CredentialRequest.create(
        "entropy",
        None,
        load(a.CredentialDefinition, c["definition"]),
        c["link_secret"],
        "default",
        load(a.CredentialOffer, c["offer"]),
    )
    return {"request": out(made), "metadata": out(metadata)}


def issue(c):
    place = c.get("place")
    config = place and a.CredentialRevocationConfig(
        load(a.RevocationRegistryDefinition, place["registry"]),
        load(a.RevocationRegistryDefinitionPrivate, place["private"]),
        load(a.RevocationStatusList, place["list"]),
        place["index"],
    )
    return out(
        a.Credential.create(
            load(a.CredentialDefinition, c["definition"]),
            load(a.CredentialDefinitionPrivate, c["private"]),
            load(a.CredentialOffer, c["offer"]),
            load(a.CredentialRequest, c["request"]),
            c["values"],
            None,
            config,
        )
    )


def process(c):
    return out(
        load(a.Credential, c["credential"]).process(
            load(a.CredentialRequestMetadata, c["metadata"]),
            c["link_secret"],
            load(a.CredentialDefinition, c["definition"]),
            c.get("registry") and load(a.RevocationRegistryDefinition, c["registry"]),
        )
    )


def witness(c):
    return out(
        a.CredentialRevocationState.create(
            load(a.RevocationRegistryDefinition, c["registry"]),
            load(a.RevocationStatusList, c["list"]),
            c["index"],
            c["tails"],
        )
    )


def present(c):
    creds = a.PresentCredentials()
    for entry in c["credentials"]:
        credential = load(a.Credential, entry["credential"])
        state = entry.get("witness")
        rest = {"timestamp": state and state["timestamp"], "rev_state": state and json.dumps(state)}
        creds.add_attributes(credential, *entry.get("reveal", []), reveal=True, **rest)
        creds.add_attributes(credential, *entry.get("withhold", []), reveal=False, **rest)
        creds.add_predicates(credential, *entry.get("predicates", []), **rest)
    return out(
        a.Presentation.create(
            load(a.PresentationRequest, c["request"]),
            creds,
            c.get("attest"),
            c["link_secret"],
            loads(a.Schema, c["schemas"]),
            loads(a.CredentialDefinition, c["definitions"]),
        )
    )


def verify(c):
    return load(a.Presentation, c["presentation"]).verify(
        load(a.PresentationRequest, c["request"]),
        loads(a.Schema, c["schemas"]),
        loads(a.CredentialDefinition, c["definitions"]),
        loads(a.RevocationRegistryDefinition, c.get("registries")),
        [load(a.RevocationStatusList, value) for value in c.get("lists") or []],
    )


OPS = {
    "link_secret": lambda c: a.create_link_secret(),
    "nonce": lambda c: a.generate_nonce(),
    "version": lambda c: a.library_version(),
    **{
        f.__name__: f
        for f in (
            encode, echo, new_issuer, new_registry, first_list, next_list, offer, request, issue, process, witness,
            present, verify,
        )
    },
}

for line in sys.stdin:
    command = json.loads(line)
    try:
        answer = {"ok": OPS[command["op"]](command)}
    except Exception as error:  # The reference's refusals are what some tests wait for.
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
