"""Meter what language models use: one line around a provider's answer.

    import meterline.llm

    answer = meterline.llm.metered(await client.chat.completions.create(...))
    async for chunk in meterline.llm.metered(stream): ...

Answers of OpenAI (Chat Completions, Responses, Embeddings), of Anthropic (Messages) and
of whoever speaks like them: whole or streamed, as objects, dicts or the bytes of JSON.
What is recorded are numbers, and the names of model and provider; nothing of what was
asked or answered. No provider's library is imported.
"""

from meterline.llm.metered import metered

__all__ = ["metered"]
