"use strict";
(function () {
  const wide = window.matchMedia("(min-width: 1180px)");
  const contents = document.querySelector("details.contents");
  const openContents = () => { contents.open = wide.matches; };
  wide.addEventListener("change", openContents);
  openContents();

  const plots = Array.from(document.querySelectorAll(".plot"));
  const options = { displayModeBar: false, responsive: true, scrollZoom: false };

  // On a phone the legend's entries stand one above the other: the figure grows by them, so that the plot doesn't shrink.
  function legendRoom(figure, width) {
    const named = new Set();
    for (const trace of figure.data) {
      if (trace.showlegend !== false && trace.name) named.add(trace.legendgroup || trace.name);
    }
    return width < 600 ? 19 * Math.max(0, named.size - 1) : 0;
  }

  function draw(plot) {
    const figure = JSON.parse(document.getElementById("data-" + plot.dataset.figure).textContent);
    figure.layout.dragmode = false; // a finger on the figure scrolls the page
    figure.layout.autosize = true;
    figure.layout.height += legendRoom(figure, plot.clientWidth);
    Plotly.newPlot(plot, figure.data, figure.layout, options);
  }
  plots.forEach(draw);

  const PAPER = 660; // CSS pixels that fit a printed page
  window.addEventListener("beforeprint", () => plots.forEach((p) => Plotly.relayout(p, { width: PAPER })));
  window.addEventListener("afterprint", () => plots.forEach((p) => Plotly.relayout(p, { width: null, autosize: true })));

  document.querySelectorAll("button[data-copy]").forEach((button) => {
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      const status = document.getElementById("copied");
      try {
        await navigator.clipboard.writeText(source.textContent);
        status.textContent = "Copied.";
      } catch {
        window.getSelection().selectAllChildren(source);
        status.textContent = document.execCommand("copy") ? "Copied." : "Selected: copy it with Ctrl-C.";
      }
    });
  });
})();
