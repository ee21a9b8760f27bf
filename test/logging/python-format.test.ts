// Numbers as Python prints them; the expected texts were printed by Python 3.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pythonDict, pythonDuration, pythonFixed, pythonFloat, pythonJson } from '#blip/logging/python-format.js';

test('repr of a float', () => {
  for (const [value, text] of [
    [50, '50.0'],
    [0, '0.0'],
    [-0, '-0.0'],
    [33.333333333333336, '33.333333333333336'],
    [0.1, '0.1'],
    [-1234.5, '-1234.5'],
    [0.0001, '0.0001'],
    [0.00001, '1e-05'],
    [-1.5e-7, '-1.5e-07'],
    [1e15, '1000000000000000.0'],
    [9999999999999998, '9999999999999998.0'],
    [1e16, '1e+16'],
    [1.2345e22, '1.2345e+22'],
    [5e-324, '5e-324'],
    [1.7976931348623157e308, '1.7976931348623157e+308'],
    [Number.NaN, 'nan'],
    [Number.POSITIVE_INFINITY, 'inf'],
    [Number.NEGATIVE_INFINITY, '-inf'],
  ] as const) {
    assert.equal(pythonFloat(value), text);
  }
});

test('fixed digits, exact halves to even', () => {
  for (const [value, digits, text] of [
    [0.03125, 4, '0.0312'],
    [0.09375, 4, '0.0938'],
    [-0.03125, 4, '-0.0312'],
    [0.5, 0, '0'],
    [1.5, 0, '2'],
    [2.5, 0, '2'],
    [0.00005, 4, '0.0001'],
    [1.005, 2, '1.00'],
    [100, 4, '100.0000'],
    [-0, 2, '-0.00'],
    [-1e-9, 4, '-0.0000'],
    [Number.NaN, 4, 'nan'],
  ] as const) {
    assert.equal(pythonFixed(value, digits), text, `${value} with ${digits}`);
  }
});

test('durations', () => {
  for (const [seconds, text] of [
    [0, '0:00:00'],
    [59.99, '0:00:59'],
    [3661, '1:01:01'],
    [86399, '23:59:59'],
    [86400, '1 day, 0:00:00'],
    [1_000_000, '11 days, 13:46:40'],
  ] as const) {
    assert.equal(pythonDuration(seconds), text);
  }
});

test('mappings', () => {
  assert.equal(pythonJson({ txt_r1: 50, r_mean: 0.5 }), '{"txt_r1": 50.0, "r_mean": 0.5}');
  assert.equal(pythonDict({ txt_r1: 50, r_mean: 0.5 }), "{'txt_r1': 50.0, 'r_mean': 0.5}");
});
