"""Strict YAML: unique keys, only true and false as booleans, overrides, environment variables."""

import os
import re
from collections.abc import Sequence
from typing import Any

import yaml

from pyro_mmnorm.core.errors import InputError

__all__ = ["load_tree"]

BOOL = "tag:yaml.org,2002:bool"


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses duplicate keys, and in which only true and false are booleans (NO is a site)."""


def _unique_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = (key_node.tag, str(key_node.value))
        if key in seen:
            problem = f"key {key_node.value!r} occurs twice"
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(BOOL, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))
_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def load_tree(text: str, *, overrides: Sequence[str] = (), where: str = "configuration") -> dict[str, Any]:
    """The mapping of a YAML text.

    Args:
        text: The YAML, in which `${NAME}` and `${NAME:-default}` are replaced by environment variables.
        overrides: `key.path=value` pairs that replace values; the values are YAML too.
        where: Name of the source for error messages.

    Raises:
        InputError: On invalid YAML, a duplicate key, an override without a valid key, or a variable that is not set
            and has no default.

    Examples:
        >>> load_tree("model: {beta: 1.0, site: NO}", overrides=["model.beta=0.5"])
        {'model': {'beta': 0.5, 'site': 'NO'}}
    """
    try:
        tree = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a SafeLoader)
        if not isinstance(tree, dict):
            got = f"{type(tree).__name__} at the top"
            raise InputError(where, got, "a mapping with the key data", "see configs/demo.yaml")
        for override in overrides:
            _set(tree, override)
    except yaml.YAMLError as error:
        raise InputError(where, " ".join(str(error).split()), "YAML", "correct that line") from error
    resolved: dict[str, Any] = _environment(tree)
    return resolved


def _set(tree: dict[str, Any], override: str) -> None:
    """Apply one `key.path=value` in place."""
    path, sign, text = override.partition("=")
    if not sign or not path:
        raise InputError(f"--set {override}", "no key=value", "key.path=value", "write for example model.latent_dim=8")
    *parents, last = path.split(".")
    here = tree
    for part in parents:
        if not isinstance(here.get(part, {}), dict):
            raise InputError(f"--set {override}", f"{part!r} is a value", "a mapping", "set that key itself")
        here = here.setdefault(part, {})
    here[last] = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a SafeLoader)


def _environment(value: Any) -> Any:
    """Replace ${NAME} and ${NAME:-default} in every string."""
    if isinstance(value, dict):
        return {key: _environment(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_environment(inner) for inner in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        value = os.environ.get(name) or match["default"]
        if value is None:
            todo = f"export {name}=... or write ${{{name}:-default}}"
            raise InputError(f"${{{name}}}", "not set", "an environment variable", todo)
        return value

    return re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}", replace, value)
