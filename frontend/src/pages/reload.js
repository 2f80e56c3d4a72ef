(port) => {
  const connect = () => {
    const socket = new WebSocket(`ws://${location.hostname}:${port}/live_reload`);
    socket.onmessage = () => location.reload();
    socket.onclose = () => setTimeout(connect, 1000);
  };
  connect();
}
