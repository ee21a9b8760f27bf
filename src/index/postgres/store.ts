// An index in PostgreSQL: comes with the merge of its branch.
import { UserError } from '../../errors.js';
import type { IndexFacts, IndexStore } from '../store.js';

const notYet = () => new UserError('Indexes in PostgreSQL are not part of this build. Take one in a folder.');

export async function openPostgresStore(_address: string): Promise<IndexStore> {
  throw notYet();
}

export async function createPostgresStore(_address: string, _facts: IndexFacts): Promise<IndexStore> {
  throw notYet();
}
