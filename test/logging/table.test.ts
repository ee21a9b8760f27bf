// Tables: aligned; narrower than their cells at every width; and as a list where there is no room for columns.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { table } from '#blip/logging/table.js';

test('a table is aligned, and no line ends in spaces', () => {
  const rows = [
    ['name', '1', 'x'],
    ['n', '22'],
    ['', ''],
  ];
  assert.equal(table(rows), 'name  1   x\nn     22\n');
  assert.equal(table(rows, 'right'), 'name   1  x\nn     22\n');
  assert.equal(table([]), '');
});

const speeds = [
  ['', 'blip-retrieval', 'salesforce/BLIP', 'ratio'],
  ['pairs a second, best', '12.3', '1.23', '10.0'],
  ['complete evaluation, CPU seconds', '1230', '12300', '0.100'],
  ['peak memory', '1.23 GiB', '12.3 GiB', '0.100'],
];

test('on a narrow terminal the words of wide cells go onto further lines, and numbers keep their units', () => {
  assert.equal(
    table(speeds, 'right', 59),
    [
      '                     blip-retrieval  salesforce/BLIP  ratio',
      'pairs a second,                12.3             1.23   10.0',
      ' best',
      'complete                       1230            12300  0.100',
      ' evaluation, CPU',
      ' seconds',
      'peak memory                1.23 GiB         12.3 GiB  0.100',
    ].join('\n'),
  );
  assert.equal(table(speeds, 'right', 76), table(speeds, 'right'));
});

test('where no column can give way each value has a line and its name', () => {
  const rows = [...speeds, [], ['a query, ms', '50 %'], ['text query', '1.23']];
  assert.equal(
    table(rows, 'right', 30),
    [
      'pairs a second, best',
      '  blip-retrieval: 12.3',
      '  salesforce/BLIP: 1.23',
      '  ratio: 10.0',
      'complete evaluation, CPU',
      '  seconds',
      '  blip-retrieval: 1230',
      '  salesforce/BLIP: 12300',
      '  ratio: 0.100',
      'peak memory',
      '  blip-retrieval: 1.23 GiB',
      '  salesforce/BLIP: 12.3 GiB',
      '  ratio: 0.100',
      'a query, ms:',
      'text query',
      '  50 %: 1.23',
    ].join('\n'),
  );
});

test('at every width from 30 on no line is longer, and no cell is lost', () => {
  for (let columns = 30; columns <= 100; columns++) {
    const text = table(speeds, 'right', columns);
    for (const line of text.split('\n')) assert.ok(line.length <= columns, `${columns}: ${line}`);
    for (const cell of speeds.flat())
      for (const word of cell.split(' ')) assert.ok(text.includes(word), `${columns}: ${word}`);
  }
});
