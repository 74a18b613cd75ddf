// Sort, filter and copy tables, say what a pointer rests on, and enlarge pictures. Nothing is fetched and nothing is kept.
(() => {
  const make = (tag, text, attributes = {}) => {
    const element = Object.assign(document.createElement(tag), { textContent: text });
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const words = (cell) => cell.innerText.replace(/\s+/g, " ").replace(/−/g, "-").trim();
  const number = (text) => {
    const found = text.match(/-?\d+(\.\d+)?(e-?\d+)?/);
    return found ? parseFloat(found[0]) : NaN;
  };

  const sort = (table, column, rising) => {
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("group") && row.cells[column]);
      const key = (row) => words(row.cells[column]);
      const byNumber = rows.every((row) => !/[a-z]/i.test(key(row)[0] || "")) && rows.some((row) => !isNaN(number(key(row))));
      const order = (a, b) => (byNumber ? (number(key(a)) || 0) - (number(key(b)) || 0) : key(a).localeCompare(key(b)));
      rows.sort((a, b) => (rising ? order(a, b) : order(b, a))).forEach((row) => body.append(row));
    }
  };

  // Choices of one kind ("View", "Attribute"): rows with that name in their column, or columns of that name.
  const choices = (table, kind) => {
    const heads = [...table.tHead.rows[0].cells];
    const name = (cell) => (cell.querySelector(".name") || cell).textContent.trim();  // also where `details` are closed
    const at = heads.findIndex((head) => name(head).toLowerCase().endsWith(kind.toLowerCase()));
    const columns = heads.filter((head) => kind.toLowerCase() in head.dataset);
    if (columns.length) {
      const show = (chosen) => heads.forEach((head, column) => columns.includes(head) && [...table.rows].forEach((row) =>
        (row.cells[column].hidden = chosen && name(head) !== chosen)));
      return { names: columns.map(name), show, keeps: () => true };
    }
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.classList.contains("group"));
    const names = at < 0 ? [] : [...new Set(rows.map((row) => name(row.cells[at])))];
    return { names, show: () => {}, keeps: (row, chosen) => !chosen || name(row.cells[at]) === chosen };
  };

  const addFilters = (table, label, tools) => {
    const text = make("input", "", { type: "search", placeholder: "Filter rows", "aria-label": `Filter rows of ${label}` });
    const kinds = ["View", "Attribute"].map((kind) => ({ kind, ...choices(table, kind) })).filter(({ names }) => names.length > 1);
    for (const each of kinds) {
      each.select = make("select", "", { "aria-label": `${each.kind} shown in ${label}` });
      each.select.append(new Option(`Every ${each.kind.toLowerCase()}`, ""), ...each.names.map((name) => new Option(name)));
    }
    const filter = () => {
      const sought = text.value.toLowerCase().split(/\s+/);
      for (const { show, select } of kinds) show(select.value);
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
        for (const row of rows)
          row.hidden = !sought.every((word) => words(row).toLowerCase().includes(word))
            || !kinds.every(({ keeps, select }) => keeps(row, select.value));
        for (const group of body.querySelectorAll("tr.group")) group.hidden = rows.every((row) => row.hidden);
      }
    };
    for (const control of [text, ...kinds.map(({ select }) => select)]) {
      control.addEventListener("input", filter);
      tools.append(control);
    }
  };

  // Heads and rows as they are seen: cells that span several columns are repeated, what is filtered out is left out.
  const grid = (table) => [...table.rows].filter((row) => !row.hidden && !row.classList.contains("group"))
    .map((row) => [...row.cells].filter((cell) => !cell.hidden).flatMap((cell) => Array(cell.colSpan).fill(words(cell))));
  const tex = (text) => text.replace(/[\\&%$#_{}~^]/g, (c) => (c === "\\" ? "\\textbackslash{}" : /[~^]/.test(c) ? `\\${c}{}` : `\\${c}`));
  const formats = {
    CSV: (rows) => rows.map((row) => row.map((t) => (/[",\n]/.test(t) ? `"${t.replace(/"/g, '""')}"` : t)).join(",")).join("\n"),
    Markdown: ([head, ...rows]) => [head, head.map(() => "---"), ...rows]
      .map((row) => `| ${row.map((t) => t.replace(/\|/g, "\\|")).join(" | ")} |`).join("\n"),
    LaTeX: ([head, ...rows]) => [`\\begin{tabular}{l${"r".repeat(head.length - 1)}}`, "\\toprule",
      `${head.map(tex).join(" & ")} \\\\`, "\\midrule", ...rows.map((row) => `${row.map(tex).join(" & ")} \\\\`),
      "\\bottomrule", "\\end{tabular}"].join("\n"),
  };

  const copy = async (text, button) => {
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.body.appendChild(make("textarea", text));
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = said), 1200);
  };

  for (const table of document.querySelectorAll(".scroll > table:not(.strip)")) {
    const region = table.parentElement;
    const label = region.getAttribute("aria-label") || "table";
    const tools = make("div", "", { class: "tools" });
    if (table.tHead && table.querySelectorAll("td").length > 12) addFilters(table, label, tools);
    for (const [name, write] of Object.entries(formats)) {
      const button = make("button", `Copy ${name}`, { type: "button", "aria-label": `Copy ${label} as ${name}` });
      button.addEventListener("click", () => copy(write(grid(table)), button));
      tools.append(button);
    }
    region.before(tools);
    if (!table.tHead) continue;
    let column = 0;
    for (const head of table.tHead.rows[0].cells) {
      const at = column;
      column += head.colSpan;
      if (!words(head)) continue;  // a corner
      const button = make("button", "", { type: "button", class: "sort" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const rising = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", rising ? "ascending" : "descending");
        sort(table, at, rising);
      });
    }
  }

  for (const block of document.querySelectorAll("pre.copy")) {
    const button = make("button", "Copy", { type: "button" });
    button.addEventListener("click", () => copy(block.textContent, button));
    block.before(button);
  }

  const tip = document.body.appendChild(make("div", "", { class: "saying", role: "status" }));
  tip.hidden = true;
  for (const mark of document.querySelectorAll(".chart .tip")) {  // a browser's own words come late, and never to a finger
    const title = mark.querySelector("title");
    mark.dataset.tip = title.textContent;
    title.remove();
  }
  document.addEventListener("pointerover", ({ target }) => {
    const mark = target.closest(".chart .tip");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    const { left, right, top, bottom } = mark.getBoundingClientRect(), { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min((left + right - width) / 2, innerWidth - width - 4))}px`;
    tip.style.top = `${top > height + 8 ? top - height - 6 : bottom + 6}px`;
  });

  const dialog = document.body.appendChild(make("dialog", "", { "aria-label": "Enlarged picture" }));
  const close = make("button", "Close", { type: "button" });
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  for (const picture of document.querySelectorAll("td img, .pairs img")) {
    const button = make("button", "", { type: "button", class: "picture", "aria-label": `Enlarge: ${picture.alt}` });
    picture.before(button);
    button.append(picture);
    button.addEventListener("click", () => {
      const large = picture.cloneNode();
      const times = Math.max(1, Math.min((innerWidth - 60) / picture.width, (innerHeight - 140) / picture.height, 6));
      large.width = picture.width * times;
      large.height = picture.height * times;
      dialog.replaceChildren(large, make("p", picture.alt), close);
      dialog.showModal();
    });
  }
})();
