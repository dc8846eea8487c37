// Shows openapi.json for people. FastAPI's own page would fetch its code from the internet.

import { element, facts, find } from "./elements.js";

const list = (rows) => element("dl", facts(rows), "facts");

function resolved(schema, api) {
  return schema?.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema;
}

function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf ?? schema.oneOf) return (schema.anyOf ?? schema.oneOf).map(kind).join(" or ");
  if (schema.enum) return schema.enum.join(" or ");
  if (schema.const) return schema.const;
  return schema.type === "array" && schema.items ? `list of ${kind(schema.items)}` : schema.type ?? "any";
}

function fields(schema) {
  return list(Object.entries(schema.properties ?? {}).map(([name, field]) => [
    name, [kind(field), field.description].filter(Boolean).join(". "),
  ]));
}

function operation(path, method, about, api) {
  const parts = [element("h2", `${method.toUpperCase()} ${path}`), element("p", `${about.summary}.`)];
  const add = (title, content) => parts.push(element("h3", title), content);
  if (about.requestBody) add("Body", element("p", `${about.requestBody.description} ${Object.keys(about.requestBody.content).join(", ")}`));
  if (about.parameters) {
    add("Options, in the query or the form", list(about.parameters.map((each) => [each.name, `${kind(each.schema)}. ${each.description}`])));
  }
  const schema = resolved(about.responses["200"]?.content?.["application/json"]?.schema, api);
  if (schema?.properties) add("Answer", fields(schema));
  const others = Object.entries(about.responses).filter(([status]) => status !== "200");
  if (others.length) add("Otherwise", list(others.map(([status, response]) => [status, response.description])));
  return element("section", parts);
}

find("example").textContent = `curl -F image=@photo.jpg ${location.origin}/v1/predictions`;
const api = await fetch("/openapi.json").then((response) => response.json());
const sections = Object.entries(api.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, about]) => operation(path, method, about, api)));
const shown = ["Answer", "ModelAnswer"]; // above, with what gives them
const shapes = Object.entries(api.components.schemas).filter(([name]) => !shown.includes(name))
  .map(([name, schema]) => element("section", [element("h2", name), element("p", schema.description ?? ""), fields(schema)]));
find("operations").replaceChildren(...sections, ...shapes);
