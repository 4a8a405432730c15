"use strict";

// The login outlives a reload, in this tab alone: the access token is kept, and is good for half an hour. Swagger UI's
// own way, `persistAuthorization`, would keep the password beside it, for every tab and for ever.
const KEPT = "tenfold-access-token";

function keep(token) {
  if (token) sessionStorage.setItem(KEPT, token);
}

const keepLogin = {
  statePlugins: {
    auth: {
      wrapActions: {
        authorizeOauth2: (original) => (login) => {
          keep(login.token?.access_token);
          return original(login);
        },
        authorize: (original) => (schemes) => {
          keep(schemes.bearer?.value);
          return original(schemes);
        },
        logout: (original) => (names) => {
          sessionStorage.removeItem(KEPT);
          return original(names);
        },
      },
    },
  },
};

const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  oauth2RedirectUrl: new URL("oauth2-redirect.html", document.currentScript.src).href,
  // The online validator would be asked about the address of this service.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [() => keepLogin],
  layout: "BaseLayout",
  onComplete: () => {
    const token = sessionStorage.getItem(KEPT);
    if (token) ui.preauthorizeApiKey("bearer", token);
  },
});
