"use strict";
// The request of the playground as a program. Values are written as JSON, which Python reads but for true, false and null.
const LINE_LENGTH = 88;

function python(value, indent = "    ") {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const parts = Array.isArray(value)
    ? value.map((one) => python(one, inner))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const line = `${open}${parts.join(", ")}${close}`;
  if (indent.length + line.length <= LINE_LENGTH && !line.includes("\n")) return line;
  return `${open}\n${parts.map((part) => `${inner}${part},\n`).join("")}${indent}${close}`;
}

function program(name, address, call, fields) {
  const given = Object.entries(fields).map(([field, value]) => `\n    ${field}=${python(value)},`).join("");
  return `import ${name}\n\nclient = ${name}.${address}, api_key=key)\nprint(client.${call}(${given}\n))`;
}

// Images are long: the program shows where they belong.
function shortened(body) {
  return JSON.parse(JSON.stringify(body, (name, value) => (name === "url" && value.startsWith("data:") ? `${value.split(",")[0]},…` : value)));
}

function asAnthropic({ model, messages, max_tokens, temperature, tools, reasoning_effort }) {
  const fields = { model, max_tokens: max_tokens ?? 4096, messages: [] };
  for (const { role, content, tool_calls, tool_call_id } of messages) {
    if (role === "system" || role === "developer") {
      fields.system = fields.system ? `${fields.system}\n\n${content}` : content;
      continue;
    }
    let parts = typeof content === "string" && content ? [{ type: "text", text: content }] : content || [];
    parts = parts.map((part) => {
      if (part.type !== "image_url") return part;
      const [kind, data] = part.image_url.url.slice("data:".length).split(";base64,");
      return { type: "image", source: { type: "base64", media_type: kind, data } };
    });
    for (const call of tool_calls ?? []) {
      parts.push({ type: "tool_use", id: call.id, name: call.function.name, input: JSON.parse(call.function.arguments || "{}") });
    }
    if (role === "tool") fields.messages.push({ role: "user", content: [{ type: "tool_result", tool_use_id: tool_call_id, content }] });
    else fields.messages.push({ role, content: typeof content === "string" && !tool_calls ? content : parts });
  }
  if (temperature !== undefined) fields.temperature = temperature;
  if (tools) fields.tools = tools.map((one) => ({ name: one.function.name, description: one.function.description ?? "", input_schema: one.function.parameters ?? { type: "object" } }));
  if (reasoning_effort) fields.output_config = { effort: reasoning_effort };
  return fields;
}

function snippet(kind, request, base) {
  const { stream, stream_options, ...body } = shortened(request);
  if (kind === "curl") {
    const quoted = JSON.stringify({ ...body, stream: true }, null, 2).replaceAll("'", "'\\''");
    return `curl -N ${base}/v1/chat/completions \\\n  -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\\n  -d '${quoted}'`;
  }
  if (kind === "anthropic") return program("anthropic", `Anthropic(base_url="${base}"`, "messages.create", asAnthropic(body));
  const { include_reasoning, ...fields } = body;
  if (include_reasoning) fields.extra_body = { include_reasoning };
  return program("openai", `OpenAI(base_url="${base}/v1"`, "chat.completions.create", fields);
}
