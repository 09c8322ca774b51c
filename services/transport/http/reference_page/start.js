// Shows the OpenAPI document of this transport in Swagger UI.
SwaggerUIBundle({
  url: "../schema",
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null, // else the document is sent to a validator on another host
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
