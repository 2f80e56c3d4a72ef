async (js, wasm) => {
  const page = document.documentElement;
  let failed = false;
  try {
    const [module, bytes] = await Promise.all([import(js), fetch(wasm)]);
    await module.default({ module_or_path: bytes });
    await new Promise((idle) => window.requestIdleCallback ? requestIdleCallback(idle, { timeout: 2000 }) : setTimeout(idle));
    module.hydrate();
    for (const island of document.querySelectorAll("leptos-island")) {
      try {
        module[island.dataset.component](island);
      } catch (error) {
        failed = true;
        console.warn(error);
      }
    }
  } catch (error) {
    failed = true;
    console.warn(error);
  }
  if (failed) page.dataset.live = "off";
  else page.dataset.live ??= "on";
}
