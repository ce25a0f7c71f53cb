/** What the AI SDK gets of OpenAI's Responses API, which its provider calls unless it is told otherwise. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { all, known, told } from "./service.mjs";

const openai = createOpenAI({ baseURL: process.env.BASE_URL + "/v1", apiKey: process.env.API_KEY });
const model = openai("openai-gpt-4o-mini");
const weather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `It is sunny in ${city}.`,
});

describe("openai.responses", { concurrency: true }, () => {
  test("a text is the model's, byte for byte, with its usage", async () => {
    const answer = await generateText({ model, prompt: known.prompt });
    assert.equal(answer.text, known.answer);
    assert.equal(answer.finishReason, "stop");
    assert.deepEqual([answer.usage.inputTokens, answer.usage.outputTokens], [known.inputTokens, known.tokens]);
    assert.match(answer.response.id, /^resp_/);
  });

  test("a stream is the model's text, byte for byte, with its usage", async () => {
    const stream = streamText({ model, prompt: known.prompt });
    const pieces = await all(stream.textStream);
    assert.equal(pieces.join(""), known.answer);
    assert.ok(pieces.length > 1);
    assert.equal(await stream.finishReason, "stop");
    assert.equal((await stream.usage).outputTokens, known.tokens);
  });

  test("tools are called, and the model answers what they said: earlier items are referred to", async () => {
    for (const ask of [generateText, streamText]) {
      const asked = await ask({
        model,
        tools: { weather },
        stopWhen: stepCountIs(3),
        prompt: `Weather? ${told({ tokens: 5, preface: 2 })}`,
      });
      assert.match(await asked.text, /It is sunny in text\./);
      assert.equal((await asked.steps).length, 2);
    }
  });

  test("a conversation goes on from the response before it", async () => {
    const first = await generateText({ model, prompt: told({ tokens: 3 }) });
    const previousResponseId = first.response.id;
    const second = await generateText({
      model,
      prompt: told({ tokens: 2 }),
      providerOptions: { openai: { previousResponseId } },
    });
    assert.equal(second.usage.outputTokens, 2);
    assert.ok(second.usage.inputTokens > first.usage.inputTokens);
  });

  test("an object follows its schema", async () => {
    const town = z.object({ name: z.string(), inhabitants: z.number().int() });
    const { output } = await generateText({ model, prompt: told(), output: Output.object({ schema: town }) });
    assert.ok(town.safeParse(output).success);
  });
});
