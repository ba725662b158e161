// Buttons with data-save="id" save the text of that element as the file data-name.
document.querySelectorAll("[data-save]").forEach((button) => {
  button.addEventListener("click", () => {
    // Made here and not asked of the server, which does not know the key that a page shows once.
    const text = document.getElementById(button.dataset.save).textContent;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
});
