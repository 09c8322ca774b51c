"""AG2's model response with what the provider must get back of it beside text and tool calls."""

from ag2.events import Field, ModelResponse

from contracts.events.parts import NativeAnswer


class NativeResponse(ModelResponse):
    """AG2's own events of a provider are not kept with the response, or lose signatures; this is."""

    native: NativeAnswer = Field(repr=False)


def native_of(response: ModelResponse) -> NativeAnswer | None:
    return response.native if isinstance(response, NativeResponse) else None


def with_native(response: ModelResponse, native: NativeAnswer | None) -> ModelResponse:
    """The response together with the provider's own form of it, if it has one."""
    return response if native is None else NativeResponse(**vars(response), native=native)
