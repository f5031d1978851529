/* The form that publishes a text on a channel. */

import { byId, setText, showProblem } from './dom.js';
import { number } from './format.js';
import { ask } from './operator-api.js';

export function startPublishing() {
  byId('publish').addEventListener('submit', publish);
}

async function publish(event) {
  event.preventDefault();
  const [channel, text] = [byId('publish-channel').value.trim(), byId('publish-text')];
  setText('published', '');
  try {
    const { members } = await ask('POST', 'messages', { body: { channel, text: text.value } });
    setText('published', `Given to ${number(members)} ${members === 1 ? 'member' : 'members'}.`);
    showProblem('publish-problem', byId('publish-channel'), '');
    text.value = '';
  } catch (error) {
    showProblem('publish-problem', byId('publish-channel'), error.message);
  }
}
