"use strict";
// The images of the next message: chosen or dropped, shown with their names, and sent within the message.
const IMAGES_BYTES_MAX = 10_000_000;
let images = [];

async function addImages(files) {
  for (const file of [...files].filter((one) => one.type.startsWith("image/"))) {
    if (file.size + images.reduce((sum, one) => sum + one.size, 0) > IMAGES_BYTES_MAX) return say("These images are too large: 10 MB together at most.");
    const url = await new Promise((done) => {
      const reader = new FileReader();
      reader.addEventListener("load", () => done(reader.result));
      reader.readAsDataURL(file);
    });
    images.push({ name: file.name, size: file.size, url });
  }
  showImages();
}

function showImages() {
  by("chosen").replaceChildren(...images.map((image) => {
    const chip = node("li", "", `${image.name} · ${Math.ceil(image.size / 1000)} KB `);
    const remove = Object.assign(node("button", "quiet", "Remove"), { type: "button" });
    remove.setAttribute("aria-label", `Remove ${image.name}`);
    remove.addEventListener("click", () => {
      images = images.filter((one) => one !== image);
      showImages();
    });
    chip.append(remove);
    return chip;
  }));
  by("ask").dispatchEvent(new Event("input", { bubbles: true })); // the request has changed
}
