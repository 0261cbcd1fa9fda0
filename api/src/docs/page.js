// Shows /openapi.json as a page for people. No library, no other host: the page works wherever the API does.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const DEPTH = 4;
let spec;

/** An element with attributes and children; text becomes text and never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** The little Markdown that descriptions use: paragraphs, **bold**, `code`. */
function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => {
    if (part.startsWith("**")) return make("strong", {}, part.slice(2, -2));
    if (part.startsWith("`")) return make("code", {}, part.slice(1, -1));
    return part;
  });
}
const paragraphs = (text) => (text || "").split(/\n\s*\n/).filter(Boolean).map((text) => make("p", {}, inline(text)));

// Schemas -------------------------------------------------------------------------------------------------------------

function resolve(schema) {
  if (!schema) return {};
  if (schema.$ref) return { ...resolve(spec.components.schemas[schema.$ref.split("/").pop()]), ...schema, $ref: undefined };
  const choices = schema.oneOf || schema.anyOf;
  if (choices) {
    const real = choices.filter((choice) => choice.type !== "null");
    const nullable = real.length < choices.length;
    if (real.length === 1) return { ...resolve(real[0]), description: schema.description || resolve(real[0]).description, nullable };
    if (real.every((choice) => choice.enum || choice.const != null)) {
      return { type: "string", enum: real.flatMap((choice) => choice.enum || [choice.const]), description: schema.description, nullable };
    }
  }
  if (schema.allOf) return schema.allOf.map(resolve).reduce((all, one) => ({ ...all, ...one }), { description: schema.description });
  return schema;
}

function typeOf(schema) {
  const types = [].concat(schema.type || (schema.properties ? "object" : schema.enum ? "string" : "any"));
  const nullable = schema.nullable || types.includes("null");
  let name = types.filter((type) => type !== "null").join(" or ");
  if (name === "array") name = `list of ${typeOf(resolve(schema.items)) || "objects"}`;
  const format = { "date-time": "time (RFC 3339)", uuid: "UUID", binary: "file", int32: "", int64: "" }[schema.format] ?? schema.format;
  if (format && name !== "any") name = name === "string" ? format : `${name} (${format})`;
  return nullable ? `${name} or null` : name;
}

function limits(schema) {
  const parts = [];
  if (schema.maximum != null) parts.push(`${schema.minimum ?? "…"} to ${schema.maximum}`);
  if (schema.minLength != null || schema.maxLength != null) parts.push(`${schema.minLength ?? 0} to ${schema.maxLength ?? "…"} characters`);
  if (schema.minItems != null || schema.maxItems != null) parts.push(`${schema.minItems ?? 0} to ${schema.maxItems ?? "…"} items`);
  return parts.join(", ");
}

function row(name, schema, required, depth, note) {
  const values = schema.enum ? [" One of ", schema.enum.map((value, index) => [index ? ", " : "", make("code", {}, String(value))]), "."] : [];
  const described = (schema.description || note || "").split("\n\n")[0];
  return make("div", { class: `deep${Math.min(depth, DEPTH)}` },
    make("dt", {}, make("code", {}, name), required && make("span", { class: "need" }, "required"),
      make("span", { class: "type" }, [typeOf(schema), limits(schema)].filter(Boolean).join(" · "))),
    make("dd", {}, inline(described), values));
}

/** A row for each field. In answers every field is there, so that `required` would only be noise. */
function rows(schema, inAnswer = false, depth = 0) {
  schema = resolve(schema);
  if ([].concat(schema.type).includes("array")) return rows(schema.items, inAnswer, depth);
  return Object.entries(schema.properties || {}).flatMap(([name, raw]) => {
    const property = resolve(raw);
    const inner = [].concat(property.type).includes("array") ? resolve(property.items) : property;
    const deeper = inner.properties && depth < DEPTH ? rows(inner, inAnswer, depth + 1) : [];
    return [row(name, { ...property, description: raw.description || property.description }, !inAnswer && (schema.required || []).includes(name), depth), ...deeper];
  });
}

function example(raw, depth = 0) {
  const schema = resolve(raw);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  if (schema.const !== undefined) return schema.const;
  const type = [].concat(schema.type || (schema.properties ? "object" : "any")).find((type) => type !== "null");
  switch (type) {
    case "object":
      return depth > DEPTH ? {} : Object.fromEntries(Object.entries(schema.properties || {}).map(([name, value]) => [name, example(value, depth + 1)]));
    case "array": return depth > DEPTH ? [] : [example(schema.items, depth + 1)];
    case "integer": return schema.minimum ?? 1;
    case "number": return schema.minimum ?? 1;
    case "boolean": return false;
    case "string":
      return { "date-time": "2026-01-31T08:00:00Z", uuid: "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e" }[schema.format] ?? "…";
    default: return null;
  }
}

// Operations ----------------------------------------------------------------------------------------------------------

const isOpen = (operation) => Array.isArray(operation.security) && operation.security.every((need) => !Object.keys(need).length);
const roleOf = (operation) => (isOpen(operation) ? "no credential" : /role `operator`/.test(`${operation.summary} ${operation.description}`) ? "operator" : "submitter");
const bodyOf = (operation) => {
  const [type, media] = Object.entries(operation.requestBody?.content || {})[0] || [];
  return type ? { type, schema: media.schema, example: media.example } : null;
};

function curl(method, path, operation) {
  const body = bodyOf(operation);
  const parts = [`curl${method === "get" ? "" : ` -X ${method.toUpperCase()}`} "$MILLRACE_URL${path}"`];
  if (!isOpen(operation)) parts.push('-H "Authorization: Bearer $MILLRACE_KEY"');
  if (body?.type.startsWith("multipart/")) parts.push("-F file=@report.pdf");
  else if (body && operation.requestBody.required !== false) {
    parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(brief(body), null, 2)}'`);
  }
  return parts.join(" \\\n  ");
}

/** A body with what is required, or the schema's own example: optional fields would only be noise. */
function brief(body) {
  const schema = resolve(body.schema);
  if (body.example ?? schema.example) return body.example ?? schema.example;
  const whole = example(schema);
  const required = schema.required || [];
  return required.length ? Object.fromEntries(Object.entries(whole).filter(([name]) => required.includes(name))) : whole;
}

function coloured(text) {
  const pre = make("pre", { tabindex: "0" });
  let last = 0;
  for (const match of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\b\d+(?:\.\d+)?\b/g)) {
    const kind = match[1] ? (match[2] ? "key" : "string") : match[3] ? "word" : "number";
    pre.append(text.slice(last, match.index), make("span", { class: kind }, match[1] || match[0]), match[2] || "");
    last = match.index + match[0].length;
  }
  pre.append(text.slice(last));
  return pre;
}

function card(title, text, copy) {
  const button = copy && make("button", { class: "quiet", type: "button", onclick: async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  return make("div", { class: "card" }, make("header", {}, title, button), copy ? make("pre", { tabindex: "0" }, text) : coloured(text));
}

function answers(operation) {
  return make("ul", { class: "answers" }, Object.entries(operation.responses).map(([status, response]) => {
    const schema = response.content?.["application/json"]?.schema;
    const fields = schema ? rows(schema, true) : [];
    return make("li", {},
      make("span", { class: `status s${status[0]}` }, status === "default" ? "other" : status), " ", inline(response.description || ""),
      status === "default" && [" — ", make("a", { href: "#errors" }, "a problem")],
      fields.length > 0 && make("details", { class: "schema" }, make("summary", {}, "Fields of the answer"), make("dl", { class: "rows" }, fields)));
  }));
}

function attempt(method, path, operation) {
  const body = bodyOf(operation);
  const inputs = (operation.parameters || []).map((parameter) => ({
    parameter,
    input: make("input", { placeholder: parameter.required ? "required" : typeOf(resolve(parameter.schema)), required: parameter.required, spellcheck: "false", autocomplete: "off" }),
  }));
  const isForm = body?.type.startsWith("multipart/");
  const content = isForm ? make("input", { type: "file", required: true }) : body && make("textarea", { spellcheck: "false" });
  if (body && !isForm && operation.requestBody.required !== false) content.value = JSON.stringify(brief(body), null, 2);
  const result = make("div", { class: "result", "aria-live": "polite" });
  const button = make("button", {}, "Send");

  async function send(event) {
    event.preventDefault();
    let url = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const { parameter, input } of inputs) {
      if (!input.value) continue;
      if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (parameter.in === "query") query.set(parameter.name, input.value);
      else headers[parameter.name] = input.value;
    }
    if (query.size) url += `?${query}`;
    const credential = document.getElementById("credential").value.trim();
    if (credential && !isOpen(operation)) headers.Authorization = `Bearer ${credential}`;
    const request = { method: method.toUpperCase(), headers };
    if (isForm) {
      request.body = new FormData();
      request.body.set("file", content.files[0]);
    } else if (content?.value.trim()) {
      headers["Content-Type"] = "application/json";
      request.body = content.value;
    }
    button.disabled = true;
    const begun = performance.now();
    try {
      const response = await fetch(url, request);
      let text = await response.text();
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* It is shown as it is. */ }
      const told = `${response.status} ${response.statusText} · ${Math.round(performance.now() - begun)} ms · ${response.headers.get("x-request-id") ?? ""}`;
      result.replaceChildren(make("p", { class: "told" }, told), text ? card(`${method.toUpperCase()} ${url}`, text.slice(0, 200000)) : "");
    } catch (error) {
      result.replaceChildren(make("p", { class: "told" }, `No answer: ${error.message}`));
    } finally {
      button.disabled = false;
    }
  }

  return make("details", { class: "try" }, make("summary", {}, "Try it"),
    make("form", { onsubmit: send },
      inputs.map(({ parameter, input }) => make("label", { class: "field" }, make("span", {}, `${parameter.name} (${parameter.in})`), input)),
      content && make("label", { class: "field" }, make("span", {}, isForm ? "file" : "body"), content),
      button, result));
}

function operationSection(path, method, operation) {
  const body = bodyOf(operation);
  const success = Object.entries(operation.responses).find(([status]) => status.startsWith("2"))?.[1];
  const answerSchema = success?.content?.["application/json"]?.schema;
  const parts = path.split(/(\{[^}]+\})/).map((part) => (part.startsWith("{") ? make("b", {}, part) : part));
  return make("article", { class: "operation", id: operation.operationId, "data-text": `${method} ${path} ${operation.summary} ${operation.description || ""}`.toLowerCase() },
    make("div", { class: "doc" },
      make("h3", {}, make("a", { href: `#${operation.operationId}` }, inline(operation.summary.replace(/\.$/, "")))),
      make("p", { class: "line" }, make("span", { class: `method ${method}` }, method), make("span", { class: "path" }, parts), make("span", { class: "role" }, roleOf(operation))),
      paragraphs(operation.description),
      operation.parameters?.length > 0 && [make("h4", {}, "Parameters"), make("dl", { class: "rows" },
        operation.parameters.map((parameter) => row(parameter.name, resolve(parameter.schema), parameter.required, 0, parameter.description)))],
      body && [make("h4", {}, "Body"), make("p", {}, make("code", {}, body.type), operation.requestBody.required === false && " — may be left out"), make("dl", { class: "rows" }, rows(body.schema))],
      make("h4", {}, "Answers"), answers(operation)),
    make("div", { class: "samples" },
      card("Request", curl(method, path, operation), true),
      answerSchema && card("Answer", JSON.stringify(example(answerSchema), null, 2)),
      attempt(method, path, operation)));
}

// The page ------------------------------------------------------------------------------------------------------------

function grouped() {
  const tags = new Map((spec.tags || []).map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (!operation || operation.operationId.startsWith("docs")) continue;
      tags.get(operation.tags[0])?.operations.push({ path, method, operation });
    }
  }
  return [...tags.values()].filter((tag) => tag.operations.length);
}

function render() {
  const tags = grouped();
  const [lead, ...more] = spec.info.description.split(/\n\s*\n/);
  document.getElementById("version").textContent = spec.info.version;
  document.getElementById("nav").append(...tags.map((tag) => make("div", { class: "group" }, make("h2", {}, tag.name),
    make("ul", {}, tag.operations.map(({ path, method, operation }) => make("li", {},
      make("a", { href: `#${operation.operationId}`, title: path }, make("span", { class: `method ${method}` }, method), operation.summary.replace(/[.:].*$/s, ""))))))));
  document.getElementById("content").replaceChildren(
    make("section", { class: "intro" }, make("h1", {}, "Millrace API"), make("p", { class: "lead" }, inline(lead)),
      make("p", { class: "links" }, make("a", { href: "/openapi.json" }, "OpenAPI 3.1 description"), make("a", { href: "#errors" }, "Errors"), make("a", { href: "/health/ready" }, "Readiness")),
      more.map((text) => make("p", {}, inline(text)))),
    ...tags.map((tag) => make("section", { class: "tag", id: `tag-${tag.name.toLowerCase().replace(/\W+/g, "-")}` },
      make("h2", {}, tag.name), make("p", {}, tag.description || ""),
      tag.operations.map(({ path, method, operation }) => operationSection(path, method, operation)))),
    make("section", { class: "tag", id: "errors" }, make("h2", {}, "Errors"),
      make("p", {}, "Every error has this shape, with the media type application/problem+json."),
      make("article", { class: "operation" }, make("div", { class: "doc" }, make("dl", { class: "rows" }, rows({ $ref: "#/components/schemas/Problem" }, true))),
        make("div", { class: "samples" }, card("422", JSON.stringify(example({ $ref: "#/components/schemas/Problem" }), null, 2))))));
}

function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const article of document.querySelectorAll("article[data-text]")) {
    const matches = words.every((word) => article.dataset.text.includes(word));
    article.classList.toggle("hidden", !matches);
    document.querySelector(`nav a[href="#${article.id}"]`).parentElement.classList.toggle("hidden", !matches);
  }
  for (const group of document.querySelectorAll("nav .group, section.tag:not(#errors)")) {
    const left = group.querySelector(group.matches("nav .group") ? "li:not(.hidden)" : "article:not(.hidden)");
    group.classList.toggle("hidden", !left);
  }
}

function follow() {
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((entry) => entry.isIntersecting)) {
      for (const link of links.values()) link.classList.remove("here");
      links.get(entry.target.id)?.classList.add("here");
    }
  }, { rootMargin: "0px 0px -75% 0px" });
  for (const article of document.querySelectorAll("article[data-text]")) observer.observe(article);
}

function remember() {
  const credential = document.getElementById("credential");
  credential.value = sessionStorage.getItem("credential") || "";
  credential.addEventListener("change", () => sessionStorage.setItem("credential", credential.value));
  const box = document.getElementById("search");
  box.addEventListener("input", () => search(box.value));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      box.focus();
    }
  });
}

fetch("/openapi.json")
  .then((response) => (response.ok ? response.json() : Promise.reject(new Error(`status ${response.status}`))))
  .then((description) => {
    spec = description;
    render();
    remember();
    follow();
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  })
  .catch((error) => { document.getElementById("loading").textContent = `The description could not be shown: ${error.message}`; });
