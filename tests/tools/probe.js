// On the page of `dvc plots show`, once its charts are drawn: reports what is seen.
(async () => {
  // What was drawn: of each mark its kind, where, how and in which colour
  const marks = (chart) => [...chart.querySelectorAll(".role-mark")].flatMap((group) =>
    [...group.querySelectorAll(":scope > :is(path, line, text, rect)")].map((mark) => ({
      kind: group.getAttribute("class").match(/mark-(\w+)/)[1],
      place: mark.getAttribute("transform")?.match(/-?[\d.]+/g).map(Number),
      shape: mark.getAttribute("d"),
      fill: mark.getAttribute("fill"),
      opacity: mark.getAttribute("fill-opacity"),
    })));

  // The fraction of an element's area on which its sections lie, with 16 pixels between them
  const filled = (main) => [...main.children].reduce((sum, section) =>
    sum + (section.offsetWidth + 16) * (section.offsetHeight + 16), 0) / (main.offsetWidth + 16) / main.offsetHeight;

  // How wide the last picture is, in pixels of its own, when its link has been followed
  function enlarged(page) {
    [...page.querySelectorAll("figure a")].at(-1).click();
    const image = page.querySelector("dialog[open] img");
    const scale = image.getBoundingClientRect().width / image.naturalWidth;
    page.querySelector("dialog button").click();
    return page.querySelector("dialog").open ? 0 : scale;
  }

  function look(page) {
    const root = page.documentElement;
    const charts = [...page.querySelectorAll(".vega-embed")];
    return {
      width: root.clientWidth,
      overflow: root.scrollWidth - root.clientWidth,
      titles: [...page.querySelectorAll("h2")].map((title) => title.textContent),
      charts: Object.fromEntries(charts.map((chart) => [chart.id, marks(chart)])),
      words: Object.fromEntries(charts.map((chart) => [chart.id, [...chart.querySelectorAll("text")].map((text) => text.textContent)])),
      spoken: Object.fromEntries(charts.map((chart) => [chart.id, chart.getAttribute("aria-label")])),
      filled: filled(page.querySelector("main")),
      enlarged: enlarged(page),
      pictures: [...page.querySelectorAll("main img")].map((image) => ({
        src: image.getAttribute("src"),
        width: image.naturalWidth,
        alt: image.alt,
        shown: image.checkVisibility(),
        top: image.getBoundingClientRect().top,
        beyond: image.getBoundingClientRect().right - root.clientWidth,
        link: image.closest("a").getAttribute("href"),
      })),
      paper: getComputedStyle(page.body).backgroundColor,
      ink: [...page.querySelectorAll("h2, p, dt, dd, small, summary")].map((each) => getComputedStyle(each).color)
        .concat([...page.querySelectorAll(".role-axis text, .role-legend text")].map((each) => getComputedStyle(each).fill)),
      numbers: [...page.querySelectorAll("data")].map((number) => [number.value, number.textContent]),
      text: page.body.innerText,
    };
  }

  const charts = [...document.scripts].filter((script) => script.text.includes("var spec")).length;
  // All but the summary, which is text
  while (document.querySelectorAll(".vega-embed svg").length < charts - 1)
    await new Promise((resolve) => setTimeout(resolve, 20));
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  return look(document);
})()
