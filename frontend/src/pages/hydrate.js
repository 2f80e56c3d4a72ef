async (js, wasm) => {
  const page = document.documentElement;
  let live = "on";
  try {
    const [module, bytes] = await Promise.all([import(js), fetch(wasm)]);
    await module.default({ module_or_path: bytes });
    await new Promise((rest) => window.requestIdleCallback ? requestIdleCallback(rest, { timeout: 2000 }) : setTimeout(rest));
    module.hydrate();
    for (const island of document.querySelectorAll("leptos-island")) {
      try {
        module[island.dataset.component](island);
      } catch (error) {
        live = "off";
        console.warn(error);
      }
    }
  } catch (error) {
    live = "off";
    console.warn(error);
  }
  page.dataset.live = live;
}
