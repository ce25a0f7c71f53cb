/** The service as the AI SDK's three providers reach it, and what is known of it. */
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

globalThis.AI_SDK_LOG_WARNINGS = false; // the anthropic provider does not know our models, and says so each time

const { BASE_URL, API_KEY } = process.env;
const MODEL = "openai-gpt-4o-mini";

/** `prompt` is answered by exactly `answer`, of `tokens` tokens, two of its `inputTokens` from a cache. */
export const known = JSON.parse(process.env.KNOWN);

/** Each gives a model; `options` are the provider's. */
export const PROVIDERS = {
  "openai-compatible": (options, model = MODEL) =>
    createOpenAICompatible({
      ...settings(options),
      name: "rebootml",
      includeUsage: true,
      supportsStructuredOutputs: true,
    })(model),
  "openai.chat": (options, model = MODEL) => createOpenAI(settings(options)).chat(model),
  anthropic: (options, model = MODEL) => createAnthropic(settings(options))(model),
};

/** A message that tells the simulator what to answer, at once. */
export function told(script = {}) {
  const words = Object.entries({ first_ms: 0, pace_ms: 0, ...script });
  return `[[sim ${words.map(([name, value]) => `${name}=${value}`).join(" ")}]]`;
}

/** Options that count in `sent` how many requests a provider makes. */
export function counted(options = {}) {
  const sent = [];
  const fetch = (url, request) => {
    sent.push(JSON.parse(request.body));
    return globalThis.fetch(url, request);
  };
  return { options: { ...options, fetch }, sent };
}

/** Everything that comes of a stream. */
export async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

function settings(options) {
  return { baseURL: `${BASE_URL}/v1`, apiKey: API_KEY, ...options };
}
