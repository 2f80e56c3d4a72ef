"""Validates files against schemas; prints a line for each fault, and exits with 1 if there are any.

    schemas.py kubernetes VERSION... < FILE         every object, strictly, against the schemas of each version
    schemas.py crds FOLDER < FILE                   the objects of Gateway API against their CRDs in FOLDER
    schemas.py json SCHEMA < FILE                   one document against a JSON Schema
"""

import functools
import json
import pathlib
import sys

import jsonschema
import yaml


def kubernetes(objects, versions):
    from kubernetes_validate import utils

    # A schema is megabytes, and every object needs it.
    utils.schema_contents = functools.cache(utils.schema_contents)
    for version in versions:
        # The package would silently use an older one.
        if version not in {utils.major_minor(known) for known in utils.all_versions()}:
            yield f"there are no schemas of Kubernetes {version}"
            continue
        for what in objects:
            try:
                utils.validate(what, version, strict=True)
            except utils.ValidationError as error:
                yield f"{name(what)}, Kubernetes {version}: {place(error)}: {error.message}"
            except utils.SchemaNotFoundError as error:
                yield f"{name(what)}: {error.message}"


def crds(objects, folder):
    known = {}
    for path in pathlib.Path(folder).glob("*_*.json"):
        for crd in filter(None, yaml.safe_load_all(path.read_text())):
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = closed(version["schema"]["openAPIV3Schema"])
                known[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    for what in objects:
        schema = known.get((what["apiVersion"], what["kind"]))
        if schema is None:
            yield f"{name(what)}: there is no CRD for it"
            continue
        for error in jsonschema.Draft202012Validator(schema).iter_errors(what):
            yield f"{name(what)}: {place(error)}: {error.message}"


def closed(schema, root=True):
    """The schema, refusing unknown fields, which a cluster would silently drop."""
    if isinstance(schema, list):
        return [closed(part, False) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(part, False) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        # No CRD describes `metadata`, which every object has.
        if root:
            result["properties"]["metadata"] = {"type": "object"}
        result.setdefault("additionalProperties", False)
    return result


def json_schema(document, schema):
    validator = jsonschema.Draft7Validator(json.loads(pathlib.Path(schema).read_text()))
    for error in validator.iter_errors(document):
        # The message repeats the whole document if no alternative matches.
        yield f"{place(error)}: {error.message[:500]}"


def name(what):
    return f"{what['kind']} {what['metadata']['name']}"


def place(error):
    return "/".join(map(str, error.absolute_path)) or "the whole"


def main(how, *args):
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    if not documents:
        sys.exit("nothing to check")
    if how == "kubernetes":
        faults = kubernetes(documents, args)
    elif how == "crds":
        faults = crds(documents, *args)
    else:
        faults = json_schema(documents[0], *args)
    faults = list(faults)
    print("\n".join(faults))
    sys.exit(bool(faults))


main(*sys.argv[1:])
