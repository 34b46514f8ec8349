/* Says so when the page can no longer be refreshed: an old "Complete" must not look like a new one. */
"use strict";
(function () {
  const stale = document.getElementById("stale");
  if (!stale) return;
  function lost() { stale.hidden = false; }
  document.addEventListener("htmx:sendError", lost);
  document.addEventListener("htmx:responseError", lost);
  document.addEventListener("htmx:timeout", lost);
  document.addEventListener("htmx:afterRequest", function (event) {
    if (event.detail.successful) stale.hidden = true;
  });
})();
