"""The `verify` of a source: models of the kinds of schemes, made from what the schemes say they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from relay.config.shape.addresses import HeaderName
from relay.config.shape.base import Model, Positive
from relay.config.shape.scalars import OneOrMany, Wrong, shown, unless_unset
from relay.config.yaml.interpolate import STAND_IN
from relay.config.yaml.nodes import Interpolated
from relay.config.yaml.report import nearest
from relay.signatures import KINDS, KindInfo, Option, OptionType, Scheme, build


def _filled(value: object) -> object:
    """Drop empty entries, as an unused second secret leaves them; one must remain."""
    given = value if isinstance(value, list | tuple) else [value]
    secrets = [secret for secret in given if secret not in ("", None)]
    if not secrets:
        raise Wrong("expected at least one secret that is not empty")
    return secrets


Secrets = Annotated[tuple[SecretStr, ...], OneOrMany(), BeforeValidator(_filled)]
Texts = Annotated[tuple[str, ...], OneOrMany()]


class VerifyModel(Model):
    """A scheme with its options."""

    # Its kinds have no source text that docstrings could be read from, and looking for it takes long.
    model_config = ConfigDict(use_attribute_docstrings=False)

    scheme: str

    def build(self) -> Scheme:
        """The scheme itself; ValueError where its options do not go together."""
        info = KINDS[self.scheme]
        options = {name: _option(getattr(self, name), info) for name in self.model_fields_set - {"scheme"}}
        try:
            return info.build(info.check(options))
        except ValueError:
            if any(map(_is_unset, options.values())):
                # Only `check --allow-unset` comes here: nobody knows what the option will be.
                return build("bearer", {"secrets": [STAND_IN.encode()]})
            raise

    @model_validator(mode="after")
    def _builds(self) -> Self:
        try:
            self.build()
        except ValueError as error:
            raise Wrong(self._without_secrets(str(error))) from None
        return self

    def _secrets(self) -> list[str]:
        """Every plain secret among the options."""
        values = [getattr(self, name) for name in self.model_fields_set]
        listed = [item for value in values if isinstance(value, tuple) for item in value]
        return [item.get_secret_value() for item in listed if isinstance(item, SecretStr)]

    def _without_secrets(self, text: str) -> str:
        shows = any(secret in text for secret in self._secrets())
        return f"the options of {self.scheme} do not go together" if shows else text


def _option(value: object, info: KindInfo) -> object:
    if isinstance(value, tuple):
        return [_secret(item, info) if isinstance(item, SecretStr) else item for item in value]
    return value


def _secret(value: SecretStr, info: KindInfo) -> bytes:
    """The secret; in place of one that is not known, such as the scheme takes: all else can be checked."""
    text = value.get_secret_value()
    return info.sample() if STAND_IN in text else text.encode()


def _is_unset(option: object) -> bool:
    """Whether an option that is no secret has an unset variable in it."""
    texts = option if isinstance(option, list) else [option]
    return any(isinstance(text, str) and STAND_IN in text for text in texts)


def _field(option: Option) -> tuple[Any, Any]:
    kinds: Mapping[OptionType, Any] = {
        OptionType.SECRETS: Secrets,
        OptionType.TEXT: str,
        OptionType.TEXTS: Texts,
        OptionType.HEADER: HeaderName,
        OptionType.DURATION: Positive,
        OptionType.CHOICE: Annotated[Literal[option.choices], unless_unset(option.default)],
    }
    kind = kinds[option.type]
    if option.required:
        return kind, Field(description=option.about)
    default = f"{option.default:g}s" if isinstance(option.default, float) else option.default
    return kind if default is not None else kind | None, Field(default=default, description=option.about)


def _model(kinds: Sequence[KindInfo]) -> type[VerifyModel]:
    """The model of kinds that take the same options."""
    first = kinds[0]
    title = "".join(part.capitalize() for part in first.name.split("-"))
    about = first.about if len(kinds) == 1 else f"One of {len(kinds)} schemes with the same options"
    names: Any = Literal[tuple(info.name for info in kinds)]
    words = [{"const": info.name, "description": info.about} for info in kinds]
    scheme = Annotated[names, WithJsonSchema({"oneOf": words}), Field(description=about)]
    fields: dict[str, Any] = {option.name: _field(option) for option in first.options}
    return create_model(f"Verify{title}", __base__=VerifyModel, __doc__=about, scheme=scheme, **fields)


def _models() -> Mapping[str, type[VerifyModel]]:
    # One model for each kind would add 55 ms to every start, and 120 KB to the JSON Schema.
    alike: dict[tuple[Option, ...], list[KindInfo]] = {}
    for info in KINDS.values():
        alike.setdefault(info.options, []).append(info)
    models = {options: _model(kinds) for options, kinds in alike.items()}
    return MappingProxyType({name: models[info.options] for name, info in KINDS.items()})


VERIFY_MODELS: Final = _models()
"""The model of every kind of scheme, by its name."""


def _mapping(value: object) -> object:
    if isinstance(value, dict):
        return value
    if value == "none":
        return {"scheme": "none"}
    if isinstance(value, str) and value in KINDS and not isinstance(value, Interpolated):
        raise Wrong(f'expected {{scheme: {value}, secrets: "${{…}}"}}; only `none` stands alone')
    close = (
        nearest(value, ["none"]) if isinstance(value, str) and not isinstance(value, Interpolated) else None
    )
    raise Wrong(f"expected a scheme with its secrets, or `none`, found {shown(value)}", nearest=close)


class _ByScheme:
    """Has pydantic read the model that the scheme's name says."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        models: Any = reduce(or_, dict.fromkeys(VERIFY_MODELS.values()))
        union = handler.generate_schema(Annotated[models, Field(discriminator="scheme")])
        return core_schema.no_info_before_validator_function(_mapping, union)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"const": "none"}, handler(schema)]}


Verify = Annotated[VerifyModel, _ByScheme()]
