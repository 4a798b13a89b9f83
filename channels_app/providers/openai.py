"""OpenAI. https://platform.openai.com/docs/api-reference"""

from channels_app.provider import Provider


class OpenAI(Provider):
    slug = "openai"
    name = "OpenAI"
    base_url = "https://api.openai.com/v1"
    docs_url = "https://platform.openai.com/docs/api-reference"
    key_hint = "sk-…"
    models = (
        "gpt-5.1", "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-4o", "gpt-4o-mini", "o3", "o4-mini",
        "gpt-3.5-turbo", "gpt-3.5-turbo-instruct", "text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002",
        "omni-moderation-latest",
    )  # fmt: skip
    setting_names = ("timeouts", "transport")


PROVIDER = OpenAI()
