// nearestName: what is meant, and when nothing is near enough.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { misspelledName, nearestName } from '#blip/config/nearest.js';

const known = ['image_root', 'image_size', 'init_lr', 'k_test'];

test('the nearest name wins; case and - for _ are no difference', () => {
  assert.equal(nearestName('image_sise', known), 'image_size');
  assert.equal(nearestName('Image-Root', known), 'image_root');
  assert.equal(nearestName('ktest', known), 'k_test');
});

test('a name that is like none has no nearest', () => {
  assert.equal(nearestName('learning_rate_of_everything', known), undefined);
  assert.equal(nearestName('x'.repeat(10_000), known), undefined);
});

test('a misspelling has the same words; another name is none, however near', () => {
  const keys = [
    ...known,
    'min_lr',
    'med_config',
    'batch_size_test',
    'pretrained',
    'max_epoch',
    'vit',
    'alpha',
    'queue_size',
  ];
  for (const [name, meant] of [
    ['k_tets', 'k_test'],
    ['ktest', 'k_test'],
    ['K-Test', 'k_test'],
    ['image_sise', 'image_size'],
    ['batch_size_tset', 'batch_size_test'],
    ['pretraned', 'pretrained'],
    ['max_epochs', 'max_epoch'],
    ['medconfig', 'med_config'],
    ['aplha', 'alpha'],
    ['vti', 'vit'],
  ]) {
    assert.equal(misspelledName(String(name), keys), meant, name);
  }
  for (const name of [
    'num_workers',
    'bert_config',
    'beam_size',
    'max_lr',
    'min_epoch',
    'image_res',
    'batch_size_val',
    'k_train',
    'x'.repeat(10_000),
  ])
    assert.equal(misspelledName(name, keys), undefined, name);
});
