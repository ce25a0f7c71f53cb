/** OpenAI's own client: does what `ASKED` says, and prints what it got as lines of JSON (`tests/clients/responses/asking.py`). */
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const TOWN = z.object({ name: z.string(), inhabitants: z.number().int() });
const CITY = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const WEATHER = { type: "function", name: "weather", parameters: CITY };
/** Each gives what the client said, or raises what it raises. */
const WAYS = {
  text: async (responses, model, input) => (await responses.create({ model, input })).output_text,
  stream: streamed,
  schema: async (responses, model, input) =>
    (await responses.parse({ model, input, text: { format: zodTextFormat(TOWN, "town") } })).output_parsed,
  tools: (...asked) => answeredTools(whole, false, ...asked),
  "tools, streamed": (...asked) => answeredTools(putTogether, false, ...asked),
  "tools, going on": (...asked) => answeredTools(whole, true, ...asked),
};

const { url, asks } = JSON.parse(process.env.ASKED);
const rows = await Promise.all(asks.map(row));
for (const said of rows) console.log(JSON.stringify(said));

async function row({ cell, way, key, model, prompt }) {
  const { responses } = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  try {
    return { cell, said: await WAYS[way](responses, model, prompt) };
  } catch (error) {
    const { status = null, code = null, message } = error;
    return { cell, refused: { by: error.constructor.name, status, code, message } };
  }
}

async function streamed(responses, model, input) {
  const stream = responses.stream({ model, input });
  const pieces = [];
  for await (const event of stream) if (event.type === "response.output_text.delta") pieces.push(event.delta);
  const { status, output_text } = await stream.finalResponse();
  if (status !== "completed" || output_text !== pieces.join("")) throw new Error("the answer is not whole");
  return pieces;
}

/** Where it `goesOn`, only what is new is sent. */
async function answeredTools(ask, goesOn, responses, model, prompt) {
  let input = [{ role: "user", content: prompt }];
  let previous = {};
  const cities = [];
  for (;;) {
    const { id, output, output_text } = await ask(responses, { model, input, tools: [WEATHER], ...previous });
    const calls = output.filter(({ type }) => type === "function_call");
    if (calls.length === 0) return { answer: output_text, cities: cities.sort() };
    const outputs = calls.map((call) => answered(call, cities));
    input = goesOn ? outputs : [...input, ...output, ...outputs];
    previous = goesOn ? { previous_response_id: id } : {};
  }
}

function answered({ call_id, arguments: said }, cities) {
  const { city } = JSON.parse(said);
  cities.push(city);
  return { type: "function_call_output", call_id, output: `It is sunny in ${city}.` };
}

function whole(responses, question) {
  return responses.create(question);
}

function putTogether(responses, question) {
  return responses.stream(question).finalResponse();
}
