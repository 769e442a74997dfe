// On the page of `dvc plots show`, once its charts are drawn: reports what is seen.
(async () => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // What was drawn: of each mark its kind, where and in which shape
  const marks = (chart) => all(".role-mark", chart).flatMap((group) =>
    all(":scope > :is(path, line, text, rect)", group).map((mark) => ({
      kind: group.getAttribute("class").match(/mark-(\w+)/)[1],
      place: mark.getAttribute("transform")?.match(/-?[\d.]+/g).map(Number),
      shape: mark.getAttribute("d"),
    })));

  // The fraction of an element's area on which its sections lie, with 16 pixels between them
  const filled = (main) => [...main.children].reduce((sum, section) =>
    sum + (section.offsetWidth + 16) * (section.offsetHeight + 16), 0) / (main.offsetWidth + 16) / main.offsetHeight;

  // How wide the last picture is, in pixels of its own, when its link has been followed
  function enlarged() {
    all("figure a").at(-1).click();
    const [image] = all("dialog[open] img");
    const scale = image.getBoundingClientRect().width / image.naturalWidth;
    all("dialog button")[0].click();
    return all("dialog[open]").length ? 0 : scale;
  }

  const charts = all("script").filter((script) => script.text.includes("var spec")).length - 1; // the summary is text
  while (all(".vega-embed svg").length < charts) await new Promise((resolve) => setTimeout(resolve, 20));
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  const ofEach = (what) => Object.fromEntries(all(".vega-embed").map((chart) => [chart.id, what(chart)]));
  return {
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    titles: all("h2").map((title) => title.textContent),
    charts: ofEach(marks),
    words: ofEach((chart) => all("text", chart).map((text) => text.textContent)),
    spoken: ofEach((chart) => chart.getAttribute("aria-label")),
    filled: filled(document.querySelector("main")),
    enlarged: enlarged(),
    pictures: all("main img").map((image) => ({
      src: image.getAttribute("src"),
      width: image.naturalWidth,
      alt: image.alt,
      shown: image.checkVisibility(),
      top: image.getBoundingClientRect().top,
      link: image.closest("a").getAttribute("href"),
    })),
    paper: getComputedStyle(document.body).backgroundColor,
    ink: all("h2, p, dt, dd, small, summary").map((each) => getComputedStyle(each).color)
      .concat(all(".role-axis text, .role-legend text").map((each) => getComputedStyle(each).fill)),
    numbers: all("data").map((number) => [number.value, number.textContent]),
    text: document.body.innerText,
  };
})()
