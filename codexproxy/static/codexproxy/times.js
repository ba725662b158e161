// Times in the browser's own zone, and distances that go on while the page stays open.
//   data-relative   "5 min ago", "in 2 h"
//   data-until="…"  "… 2 h 14 min (16:05)": counts down; data-passed is what it says afterwards
//   data-local      the moment itself; "seconds" shows them too, "short" leaves the year out
(() => {
  const pad = (number) => String(number).padStart(2, "0");
  const day = (at) => `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  const clock = (at, seconds) =>
    `${pad(at.getHours())}:${pad(at.getMinutes())}${seconds ? `:${pad(at.getSeconds())}` : ""}`;
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const short = (at) => `${at.getDate()} ${months[at.getMonth()]} ${clock(at)}`;
  const near = (at) => (day(at) === day(new Date()) ? clock(at) : short(at));

  // To two units, as the server says it; the last hour of a countdown shows its seconds.
  function duration(total, counting) {
    const seconds = Math.max(0, Math.floor(total));
    const [days, hours] = [Math.floor(seconds / 86400), Math.floor((seconds % 86400) / 3600)];
    const [minutes, rest] = [Math.floor((seconds % 3600) / 60), seconds % 60];
    if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
    if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
    if (minutes) return counting && rest ? `${minutes} min ${rest} s` : `${minutes} min`;
    return `${rest} s`;
  }

  function words(element, at, ahead) {
    const data = element.dataset;
    if (data.local === "short") return short(at);
    if ("local" in data) return `${day(at)} ${clock(at, data.local === "seconds")}`;
    if ("relative" in data) return ahead > 0 ? `in ${duration(ahead)}` : `${duration(-ahead)} ago`;
    if (ahead <= 0) return data.passed || element.textContent;
    return `${data.until} ${duration(ahead, true)} (${near(at)})`.trim();
  }

  function refresh() {
    const now = Date.now();
    document.querySelectorAll("title[data-at]").forEach((element) => {
      const at = new Date(element.dataset.at);
      element.textContent = `${day(at)} ${clock(at)} ·${element.textContent.split("·").slice(1).join("·")}`;
      delete element.dataset.at;
    });
    document.querySelectorAll("time[data-relative], time[data-until], time[data-local]").forEach((element) => {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.getTime())) return;
      const found = words(element, at, (at.getTime() - now) / 1000);
      if (element.textContent !== found) element.textContent = found;
      if (!element.dataset.titled) {
        element.title = `${day(at)} ${clock(at, true)}, ${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
        element.dataset.titled = "yes";
      }
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    refresh();
    // What htmx has brought has the server's words in it.
    document.body.addEventListener("htmx:load", refresh);
    setInterval(() => { if (!document.hidden) refresh(); }, 1000);
    document.addEventListener("visibilitychange", refresh);
  });
})();
