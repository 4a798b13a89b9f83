"""Any OpenAI-compatible API: the base URL is the one that its SDK users set, with or without a version."""

from channels_app.provider import Provider


class Custom(Provider):
    slug = "custom"
    name = "OpenAI-compatible"
    docs_url = "https://platform.openai.com/docs/api-reference"
    key_hint = "as the upstream gives it"
    setting_names = ("timeouts", "transport")


PROVIDER = Custom()
