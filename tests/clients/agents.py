"""The programs that one talks to on the command line, and how each is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

FILE = "{file}"
"""Stands for the path of the file that an agent is to look at, `PROMPT` for what it is told."""
PROMPT = '"$PROMPT"'
SCHEMA = '"$SCHEMA"'
OUR_WORDS = r"not\s+one\s+of\s+our\s+API\s+keys"
ANSWER = "It is Paris, as everybody knows by now."
NO_CREDIT = r"\b0\s+USD\s+are\s+available"
WRITES = "seen.py\n```python\n<<<<<<< SEARCH\n=======\nprint(4711)\n>>>>>>> REPLACE\n```\n"


class Agent(NamedTuple):
    """One program as a block of its page sets it up. `asks` are commands by what is wanted: `plain`, `stream`, `task`, and
    `schema` where it has that. `turn` is how the model does the task: it reads a file, or writes what is in it. `form` is how
    it answers in the form of a schema, `answer` how it says something when it may not do so in text. `does` is what the
    program shows of a model without a plan, which calls the first tool there is.
    """

    page: str
    client: str
    program: str
    asks: Mapping[str, str]
    turn: Mapping[str, Any]
    block: int = 0
    form: Mapping[str, Any] = {}
    answer: Mapping[str, Any] = {"text": ANSWER}
    wrong_key: str = OUR_WORDS
    does: str = r"\[simulated|The tool said"


def calling(tool: str, /, **arguments: Any) -> dict[str, Any]:
    """The model calls this tool of the agent's."""
    return {"text": "I look.", "calls": [{"name": tool, "arguments": arguments}]}


CLAUDE = "claude -p"
OPENCODE = "opencode run --model rebootml/"
KILO = "kilo run --auto --model rebootml/openai-gpt-4o-mini"
AIDER = "aider --model openai/openai-gpt-4o-mini --no-show-model-warnings --yes-always --no-git --no-pretty"
CN = "cn --config ~/.continue/config.yaml --allow Read"
MINI = "mini -m openai/openai-gpt-4o-mini -y --exit-immediately -c mini.yaml -c agent.step_limit=5 -t"
SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
COPILOT = "copilot --no-auto-update --allow-all-tools"


THINKING = {
    "anthropic-claude-opus-5-5": "bedrock-converse",
    "openai-gpt-6-luna": "openai-responses",
    "google-gemini-3.8-flash": "gemini",
    "deepseek-flash": "deepseek-chat",
}
"""Models that think beside tools, each with the API by which it does."""
THINKS = "MAX_THINKING_TOKENS=8000"
"""Claude Code asks models that it does not know for thinking."""


def opencode(block: int, model: str) -> Agent:
    """By one of its providers."""
    command = f"{OPENCODE}{model} {PROMPT}"
    return Agent(
        "opencode",
        "opencode",
        "node_modules/opencode-*/bin/opencode",
        {"plain": command, "stream": f"{OPENCODE}{model} --format json {PROMPT}", "task": command},
        calling("read", filePath=FILE),
        block,
    )


def continues(block: int) -> Agent:
    """With one of its providers."""
    command = f"{CN} -p {PROMPT}"
    program = "node_modules/.bin/cn"
    return Agent(
        "continue", "continue", program, {"plain": command, "task": command}, calling("Read", filepath=FILE), block
    )


def copilot(block: int) -> Agent:
    """Over one of the APIs."""
    asks = {
        "plain": f"{COPILOT} --stream off -p {PROMPT}",
        "stream": f"{COPILOT} --stream on -p {PROMPT}",
        "task": f"{COPILOT} -p {PROMPT}",
    }
    program = "node_modules/@github/copilot-*/copilot"
    return Agent("copilot-cli", "copilot", program, asks, calling("view", path=FILE), block, wrong_key=r"401")


def qwen(block: int, kind: str) -> Agent:
    """By one of the APIs."""
    command = f"qwen --auth-type {kind} -y -p {PROMPT}"
    streams = "--output-format stream-json --include-partial-messages"
    asks = {"plain": command, "stream": f"{command} {streams}", "task": command}
    program = "node_modules/.bin/qwen"
    return Agent("qwen-code", "qwen-code", program, asks, calling("read_file", file_path=FILE), block)


def pi(block: int, model: str) -> Agent:
    """Over one of the APIs."""
    command = f"pi --offline --provider rebootml --model {model}"
    asks = {"plain": f"{command} -p {PROMPT}", "stream": f"{command} --mode json -p {PROMPT}"}
    asks["task"] = asks["plain"]
    return Agent("pi", "pi", "node_modules/.bin/pi", asks, calling("read", path=FILE), block)


def gptme(block: int, model: str) -> Agent:
    """Over one of the APIs."""
    command = f"gptme --non-interactive -m {model}"
    asks = {
        "plain": f"{command} --no-stream --tools none {PROMPT}",
        "stream": f"{command} --stream --tools none {PROMPT}",
        "task": f"{command} --tools shell {PROMPT}",
    }
    return Agent(
        "gptme", "gptme", "bin/gptme", asks, calling("shell", command=f"cat {FILE}"), block, does=r"@complete\(call_"
    )


AGENTS = {
    "claude-code": Agent(
        "claude-code",
        "claude-code",
        "node_modules/@anthropic-ai/claude-code-*/claude",
        {
            "plain": f"{CLAUDE} {PROMPT}",
            "stream": f"{CLAUDE} {PROMPT} --verbose --output-format stream-json --include-partial-messages",
            "task": f"{CLAUDE} {PROMPT} --allowedTools Read",
            "schema": f"{CLAUDE} {PROMPT} --output-format json --json-schema {SCHEMA}",
        },
        calling("Read", file_path=FILE),
        form=calling("StructuredOutput", name="Paris"),
    ),
    "opencode, openai-compatible": opencode(0, "openai-gpt-4o-mini"),
    "opencode, anthropic": opencode(1, "anthropic-claude-3-5-sonnet-v2"),
    "opencode, openai": opencode(2, "openai-gpt-4o-mini"),
    "kilo": Agent(
        "kilo",
        "kilo",
        "node_modules/@kilocode/cli-*/bin/kilo",
        {"plain": f"{KILO} {PROMPT}", "stream": f"{KILO} --format json {PROMPT}", "task": f"{KILO} {PROMPT}"},
        calling("read", filePath=FILE),
    ),
    "aider": Agent(
        "aider",
        "aider",
        "bin/aider",
        {
            "plain": f"{AIDER} --no-stream --message {PROMPT}",
            "stream": f"{AIDER} --message {PROMPT}",
            "task": f"{AIDER} --edit-format diff --message {PROMPT} seen.py && python3 seen.py",
        },
        {"text": WRITES},
    ),
    "continue, openai": continues(0),
    "continue, anthropic": continues(1),
    "cline": Agent(
        "cline",
        "cline",
        "node_modules/.bin/cline",
        {"plain": f"cline {PROMPT}", "stream": f"cline --json {PROMPT}", "task": f"cline --json {PROMPT}"},
        calling("read_files", files=[{"path": FILE}]),
    ),
    "mistral-vibe": Agent(
        "mistral-vibe",
        "mistral-vibe",
        "bin/vibe",
        {
            "plain": f"vibe --trust -p {PROMPT}",
            "stream": f"vibe --trust --output streaming -p {PROMPT}",
            "task": f"vibe --trust --auto-approve -p {PROMPT}",
        },
        calling("read_file", path=FILE),
        wrong_key=r"Invalid API key",
    ),
    "mini-swe-agent": Agent(
        "mini-swe-agent",
        "mini-swe-agent",
        "bin/mini",
        {"plain": f"{MINI} {PROMPT}", "task": f"{MINI} {PROMPT}"},
        calling("bash", command=f"cat {FILE}"),
        answer=calling("bash", command=f"{SUBMIT} && echo '{ANSWER}'"),
        does="text: not found",
    ),
    "gptme, responses": gptme(0, "openai/openai-gpt-4o-mini"),
    "gptme, completions": gptme(1, "local/openai-gpt-4o-mini --tool-format tool"),
    "qwen-code, openai": qwen(0, "openai"),
    "qwen-code, anthropic": qwen(1, "anthropic"),
    "pi, completions": pi(0, "openai-gpt-4o-mini"),
    "pi, responses": pi(1, "openai-gpt-4o-mini"),
    "pi, anthropic": pi(2, "anthropic-claude-sonnet-4-6"),
    "copilot, completions": copilot(0),
    "copilot, responses": copilot(1),
    "copilot, anthropic": copilot(2),
}
