// Swagger UI on our own document; `validatorUrl: null` because it would ask a server elsewhere.
SwaggerUIBundle({
  url: "../../openapi.json",
  dom_id: "#explorer",
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  requestSnippetsEnabled: true,
});
