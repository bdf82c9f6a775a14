// A store that is well and loses one answer in a hundred is called red less than once in ten days.

import t from 'tap';
import { falseReds } from '../../../bench/health-false-reds.ts';

t.test('lost answers', (t) => {
  const days = 60;
  const most = days / 10;
  t.ok(falseReds({ days, seed: 'rounds', lost: 0.01, requests: 1, asks: 1 }) < most, 'one round in a hundred');
  t.ok(falseReds({ days, seed: 'requests', lost: 0.01, requests: 10, asks: 2 }) < most, 'one request in a hundred');
  t.ok(
    falseReds({ days: 5, seed: 'once', lost: 0.01, requests: 10, asks: 1 }) > 5,
    'were each asked once, it would be some a day',
  );
  t.end();
});
