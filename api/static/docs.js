"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  oauth2RedirectUrl: new URL("oauth2-redirect.html", document.currentScript.src).href,
  // The online validator would be asked about the address of this service.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
