// ws on Node.js: node ws.js [--certificate=PEM --private-key=PEM]
'use strict';
const fs = require('fs');
const http = require('http');
const https = require('https');
const { WebSocket, WebSocketServer } = require('ws');

const BACKLOG = 1024;
const MOST = 16 * 1024 * 1024;

function option(name) {
  const found = process.argv.find((word) => word.startsWith(`--${name}=`));
  return found && fs.readFileSync(found.slice(name.length + 3));
}

const cert = option('certificate');
const server = cert
  ? https.createServer({ cert, key: option('private-key'), noDelay: true })
  : http.createServer({ noDelay: true });
const sockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: MOST });
const members = new Set();

sockets.on('connection', (socket, request) => {
  socket.on('error', () => {});
  if (request.url !== '/broadcast') {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    return;
  }
  members.add(socket);
  socket.on('close', () => members.delete(socket));
  socket.on('message', (data, isBinary) => {
    for (const member of members) {
      if (member !== socket && member.readyState === WebSocket.OPEN) member.send(data, { binary: isBinary });
    }
  });
});

server.listen({ host: '127.0.0.1', port: 0, backlog: BACKLOG }, () => {
  console.log(`listening on ${cert ? 'wss' : 'ws'}://127.0.0.1:${server.address().port}/`);
});
