"""A person's signature on a bundle, beside that of its orchestrator: over the same manifest."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.evidence import bundle, dsse, layout
from orchestrator.evidence.keys import Signer
from orchestrator.model.errors import InputError


def countersign(packed: bytes, signer: Signer, *, file: str = "") -> bytes:
    """Return the bundle with one signature more on its manifest; nothing else of it changes.

    Signatures beyond the first are in the order of their keys, so that who signs first makes no
    difference; a key that signed already adds none. `file` is where it is from. Raises InputError
    when it is no bundle, or its manifest is not the one that was signed; InfrastructureError when
    the signer fails.
    """
    try:
        contents = bundle.unpack(packed)
    except bundle.PackageError as error:
        todo = "give one as it was exported"
        raise InputError(f"no bundle: {error}", todo, file=file) from error
    lacking = [p for p in (layout.MANIFEST, layout.MANIFEST_ENVELOPE) if p not in contents]
    if lacking:
        named = ", ".join(lacking)
        raise InputError(f"no bundle: without {named}", "give a whole one", file=file)
    try:
        envelope = dsse.parse(contents[layout.MANIFEST_ENVELOPE])
    except dsse.SignatureError as error:
        raise InputError(
            str(error), "verify the bundle first", file=file, path=layout.MANIFEST_ENVELOPE
        ) from error
    if envelope.payload != contents[layout.MANIFEST]:
        raise InputError(
            "the manifest is not the one that was signed: the bundle was changed",
            "do not sign it; get it again, and verify it first",
            file=file,
            path=layout.MANIFEST,
        )
    added = dsse.sign(envelope.payload, bundle.MANIFEST_TYPE, signer).signatures[0]
    first, *others = envelope.signatures
    if added.keyid in {one.keyid for one in envelope.signatures}:
        return packed
    ordered = sorted([*others, added], key=lambda one: one.keyid)
    signed = replace(envelope, signatures=(first, *ordered))
    return bundle.archive({**contents, layout.MANIFEST_ENVELOPE: signed.to_bytes()})
